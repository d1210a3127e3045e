// Runs that are kept in the browser's private files (the origin private file system), so that they outlive the page.
//
//   wgrad-runs/NAME/data.zip                        the data, written once
//   wgrad-runs/NAME/00000007-140-of-400.zip         the run as a checkpoint left it: a number, steps done, steps in all
//
// A state is written under a new number, and the one before is removed when the new one is whole. An archive ends with its
// directory and has checksums, so that one whose writing was cut short is known, and the one before it is taken.

import { named } from './errors.js';
import { unzip, zipParts } from './zip.js';

const ROOT = 'wgrad-runs';
const DATA = 'data.zip';
const STATE = /^(\d{8,})-(\d+)-of-(\d+)\.zip$/;

/** Held by the worker that has the run, as long as it has it. */
const lockOf = (name) => `wgrad-run-${name}`;

const root = async () => (await navigator.storage.getDirectory()).getDirectoryHandle(ROOT, { create: true });

function checked(name) {
  if (typeof name === 'string' && /^[\w .-]{1,100}$/.test(name) && !/^\.+$/.test(name)) return name;
  throw named('ConfigError', `keep: expected a name of at most 100 letters, digits, blanks, dots, dashes and underscores, found ${name}`);
}

/** The states of a run, the newest first. */
async function statesOf(folder) {
  const states = [];
  for await (const file of folder.keys()) {
    const [, number, step, total] = file.match(STATE) ?? [];
    if (number) states.push({ file, number: Number(number), step: Number(step), totalSteps: Number(total) });
  }
  return states.sort((a, b) => b.number - a.number);
}

const open = async (folder, name) => (await folder.getFileHandle(name)).getFile();

/** What is kept, the newest first: `{ name, step, totalSteps, saved, inUse }`, `saved` in milliseconds as of `Date.now()`. */
export async function keptRuns() {
  const found = [];
  let folders;
  try {
    folders = await root();
  } catch {
    return found; // No such files here, in private windows of some browsers for instance.
  }
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  for await (const [name, folder] of folders.entries()) {
    if (folder.kind !== 'directory') continue;
    try {
      const [state] = await statesOf(folder);
      if (!state) continue;
      const { lastModified: saved } = await open(folder, state.file);
      found.push({ name, step: state.step, totalSteps: state.totalSteps, saved, inUse: held.some((lock) => lock.name === lockOf(name)) });
    } catch {
      // Another tab may remove it while this one looks. One that cannot be read hides none of the others.
    }
  }
  return found.sort((a, b) => b.saved - a.saved);
}

/** Removes a run that is kept. */
export async function forgetRun(name) {
  const folders = await root();
  await alone(checked(name), () => folders.removeEntry(name, { recursive: true }).catch((error) => {
    if (error.name !== 'NotFoundError') throw error;
  }));
}

/** How long a lock is waited for, in milliseconds: that of a page that was left is given back a moment later. */
const PATIENCE = 5000;

/** Does `work` with the lock of a run, which nothing else has then. It is given back when what `work` gives is settled. */
async function alone(name, work) {
  const late = AbortSignal.timeout(PATIENCE);
  try {
    return await navigator.locks.request(lockOf(name), { signal: late }, work);
  } catch (error) {
    if (error !== late.reason) throw error;
    throw named('ConfigError', `keep: expected a run that nothing else has, found ${name} in use, in another tab or by another Trainer`);
  }
}

/** Writes a file, all of it, or throws. Whole or not, it is there under its name. */
async function write(folder, name, parts) {
  const handle = await folder.getFileHandle(name, { create: true });
  if (!handle.createSyncAccessHandle) {
    const stream = await handle.createWritable();
    await stream.write(new Blob(parts));
    return stream.close();
  }
  const file = await handle.createSyncAccessHandle();
  try {
    file.truncate(0);
    let at = 0;
    for (const part of parts) {
      const written = file.write(part, { at });
      if (written < part.byteLength) throw named('QuotaExceededError', 'no room is left');
      at += written;
    }
    file.flush();
  } finally {
    file.close();
  }
}

/** Keeps one run. Made and used in the worker. */
export class Keeper {
  #name;
  #folder;
  #release;
  #number = 0;
  #hasData = false;
  #busy = Promise.resolve();
  #waiting = null;

  /** Takes the run `name`, new or kept. Rejects where something else has it, or this browser has no such files. */
  static async take(name) {
    const keeper = new Keeper();
    keeper.#name = checked(name);
    await new Promise((resolve, reject) => {
      const held = () => new Promise((release) => {
        keeper.#release = release;
        resolve();
      });
      alone(name, held).catch(reject);
    });
    try {
      keeper.#folder = await (await root()).getDirectoryHandle(name, { create: true });
      const states = await statesOf(keeper.#folder);
      keeper.#number = states[0]?.number ?? 0;
      keeper.#hasData = states.length > 0;
    } catch (error) {
      keeper.#release();
      throw error;
    }
    return keeper;
  }

  get name() {
    return this.#name;
  }

  /** Whether nothing is kept under the name yet. */
  get isNew() {
    return this.#number === 0;
  }

  async #read(file) {
    try {
      return await unzip(await open(this.#folder, file));
    } catch (error) {
      throw named(error.name, `${this.#name}, ${file}: ${error.message}`);
    }
  }

  /** The files of the newest state that is whole, with the data, as `[path, bytes]` pairs. */
  async files() {
    const data = await this.#read(DATA);
    for (const { file } of await statesOf(this.#folder)) {
      try {
        return [...(await this.#read(file)), ...data];
      } catch (error) {
        // Its writing was cut short: the one before is there. What else can go wrong, as memory that is short, is told.
        if (error.name !== 'FileError') throw error;
      }
    }
    throw named('FileError', `expected a kept run called ${this.#name}, found none that is whole`);
  }

  /**
   * Keeps a state: `run` is files as `[path, bytes]` pairs, and `data` gives those of the data. Of several that are asked for while one is written
   * the last is kept. Resolves when it is, or a later one.
   */
  save(step, totalSteps, run, data) {
    const idle = this.#waiting === null;
    this.#waiting = { step, totalSteps, run, data };
    if (idle) this.#busy = this.#busy.catch(() => {}).then(() => this.#write());
    return this.#busy;
  }

  async #write() {
    const { step, totalSteps, run, data } = this.#waiting;
    this.#waiting = null;
    if (!this.#hasData) await write(this.#folder, DATA, zipParts(data()));
    this.#hasData = true;
    const before = await statesOf(this.#folder);
    this.#number += 1;
    const name = `${String(this.#number).padStart(8, '0')}-${step}-of-${totalSteps}.zip`;
    try {
      await write(this.#folder, name, zipParts(run));
    } catch (error) {
      await this.#folder.removeEntry(name).catch(() => {});
      throw error;
    }
    for (const { file } of before) await this.#folder.removeEntry(file).catch(() => {});
  }

  /** Lets the run go, when what is being written is. A run of which nothing was kept leaves nothing. */
  async close() {
    await this.#busy.catch(() => {});
    try {
      if (!(await statesOf(this.#folder)).length) await (await root()).removeEntry(this.#name, { recursive: true });
    } catch {
      // An empty folder is in nobody's way.
    }
    this.#release();
  }
}
