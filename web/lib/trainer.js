// Training runs.

import { filesOf } from './address.js';
import { named } from './errors.js';
import { forgetRun, keptRuns } from './kept.js';
import { client, either } from './page.js';
import { assignments, preparation, whole } from './settings.js';

/** Letters of a text that are encoded at once: more would take the page's time. */
const PIECE = 1 << 20;

/** A text as a file, encoded piece by piece, with the page's own work between two. */
async function encoded(text) {
  const pieces = [];
  for (let start = 0; start < text.length; ) {
    let end = Math.min(text.length, start + PIECE);
    // The two halves of one character stay together.
    if (end < text.length && /[\uD800-\uDBFF]/.test(text[end - 1])) end += 1;
    pieces.push(new TextEncoder().encode(text.slice(start, end)));
    start = end;
    if (start < text.length) await new Promise((done) => setTimeout(done));
  }
  return new Blob(pieces);
}

/** The text of a run, one string or files. */
const inputsOf = async (text) => (typeof text === 'string' ? [['text.txt', await encoded(text)]] : filesOf(text));

/** Pretrains a small BERT, as `wgrad pretrain` does. */
export class Trainer extends EventTarget {
  #handle;
  #generation = client.generation;
  #options;
  #begun;
  #training = null;
  #life = new AbortController();

  /** What was prepared, as `wgrad data prepare --json` says it; null where a run brought its own data. */
  data = null;
  /** The recipe of a run that is gone on with; null for a new one. */
  recipe = null;

  /** Rows of `metrics.jsonl` of the steps before a run was gone on with. */
  rows = [];
  /** The loss of guessing by word frequency, in nats; null where the text is too short to tell. */
  unigramEntropy = null;

  /** Steps done and steps in all of a run that is gone on with, as it was taken over. */
  done = 0;
  totalSteps = null;

  /** Why the browser does not have what it was asked to keep; null where it has, or was not asked. */
  notKept = null;

  /** Use `Trainer.create`, `Trainer.resume` or `Trainer.restore`. */
  constructor(handle, options, { data = null, recipe = null, rows = [], entropy = null, done = 0, totalSteps = null, notKept = null } = {}) {
    super();
    this.#handle = handle;
    this.#options = options;
    this.#begun = recipe !== null;
    [this.data, this.recipe, this.rows, this.unigramEntropy] = [data, recipe, rows, entropy ?? data?.unigram_entropy ?? null];
    [this.done, this.totalSteps, this.notKept] = [done, totalSteps, notKept];
  }

  /**
   * A new run on text: one string, or files. Options: `preset`, `steps`, `batch`, `seqLen`, `vocabulary`, `join`,
   * `pack`, `heldOut`, `documents` (`line` or `paragraph`), `seed`, `set` (recipe keys as on the command line), `kind`,
   * `signal`; `keep`, a name under which the browser keeps the run from its first checkpoint on.
   */
  static async create(text, options = {}) {
    const { progress_callback, signal, keep, ...settings } = options;
    const prepared = preparation(settings);
    assignments(settings, null); // What is wrong with them is told before the text is read.
    const inputs = await inputsOf(text);
    const { handle, data, notKept } = await client.call('prepare', { inputs, options: prepared, kept: keep }, { onEvent: progress_callback, signal });
    return new Trainer(handle, settings, { data, notKept });
  }

  /** Goes on with a run: the files of its folder, with `data/` in it or beside it, or with `text` to go on with. */
  static async resume(files, options = {}) {
    const { progress_callback, signal, text, keep, ...settings } = options;
    const prepared = preparation(settings);
    const given = text ? await inputsOf(text) : null;
    const params = { inputs: await filesOf(files), text: given, options: prepared, kept: keep };
    const { handle, ownData, ...run } = await client.call('adopt', params, { onEvent: progress_callback, signal });
    // Who asks for other steps, or brings other data, means it.
    const allowChanges = !ownData || settings.steps !== undefined || settings.allowChanges;
    return new Trainer(handle, { ...settings, allowChanges }, run);
  }

  /** The runs that this browser keeps, the newest first. */
  static kept() {
    return keptRuns();
  }

  /** Goes on with a run that this browser keeps, from its newest whole checkpoint. */
  static async restore(name, options = {}) {
    const { progress_callback, signal, ...settings } = options;
    const { handle, ownData, ...run } = await client.call('restore', { kept: name, options: preparation(settings) }, { onEvent: progress_callback, signal });
    return new Trainer(handle, { ...settings, allowChanges: true }, run);
  }

  /** Removes a run that this browser keeps. */
  static forget(name) {
    return forgetRun(name);
  }

  #call(method, params = {}, { signal, ...extra } = {}) {
    this.#life.signal.throwIfAborted();
    if (this.#generation !== client.generation) {
      throw named('Unloaded', 'the worker that held this run has ended: begin again, or from a saved checkpoint');
    }
    return client.call(method, { handle: this.#handle, ...params }, { ...extra, signal: either(signal, this.#life.signal) });
  }

  /** Whether it is being trained right now. */
  get training() {
    return this.#training !== null;
  }

  /**
   * Trains to the last step, or until `pause()`; called again, it goes on. `steps` makes the run longer or shorter. Events:
   * `ready`, `step` (its `detail.row` is a row of `metrics.jsonl`), `checkpoint`, `kept` and `not-kept` where the browser is to
   * keep the run, `warning`, `device-lost`. Gives back the run's summary. An aborted `signal` stops it as `pause()` does, and rejects.
   */
  async train({ signal, steps } = {}) {
    signal?.throwIfAborted();
    const longer = whole({ steps }, 'steps', 1, 1e9) !== undefined;
    if (longer && this.#training) throw named('ConfigError', `steps: expected a run that stands still, found one that trains: pause() it first`);
    if (this.#training) return this.#training;
    if (longer) this.#options = { ...this.#options, steps: Number(steps), allowChanges: true };
    const { preset = 'micro', kind, allowChanges, aboutData } = this.#options;
    // A run that is gone on with keeps its recipe but for what is set.
    const set = this.#begun ? [...(this.#options.set ?? []), ...(this.#options.steps ? [`steps=${this.#options.steps}`] : [])] : assignments(this.#options, this.data);
    const options = { preset, set, allowChanges, aboutData, device: { kind } };
    const onEvent = (detail) => {
      if (detail.event === 'kept' || detail.event === 'not-kept') this.notKept = detail.text ?? null;
      this.dispatchEvent(new CustomEvent(detail.event, { detail }));
    };
    const stop = () => this.pause().catch(() => {});
    signal?.addEventListener('abort', stop, { once: true });
    try {
      // Assigned where nothing waits before, so that a second call finds it.
      this.#training = this.#call('train', { options }, { onEvent });
      const summary = await this.#training;
      if (summary.interrupted) signal?.throwIfAborted();
      return summary;
    } finally {
      signal?.removeEventListener('abort', stop);
      this.#training = null;
    }
  }

  /** Stops after the steps under way and saves a checkpoint; `train()` goes on from there. */
  async pause() {
    const training = this.#training;
    if (!training) return;
    await this.#call('pause');
    await training.catch(() => {});
  }

  /** Guesses the `[MASK]`s of a text with the weights of the newest checkpoint; works while training too. */
  async fillMask(text, { top_k = 5, signal } = {}) {
    return this.#call('guess', { text, topK: top_k }, { signal });
  }

  /** The run's files as `[path, Uint8Array]` pairs: a folder that `wgrad` on a computer loads and trains on. */
  async files() {
    return this.#call('files', {});
  }

  /** The same as a zip archive that unpacks into a folder called `name`. */
  async zip(name = 'wgrad-run') {
    return this.#call('files', { name, archive: true });
  }

  /** Stops after the steps under way and frees the run; what is waited for rejects with `Disposed`. */
  async dispose() {
    if (this.#life.signal.aborted) return;
    this.#life.abort(named('Disposed', 'this run was disposed of'));
    if (this.#generation === client.generation) await client.call('unload', { handle: this.#handle });
  }
}
