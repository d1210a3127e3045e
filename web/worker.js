// The worker: the library, the device and all that is loaded live here, so that the page never waits.

import init, * as wgrad from './wasm/wgrad.js';
import { download, downloadModel } from './lib/download.js';
import { isArchive } from './lib/address.js';
import { named, packed } from './lib/errors.js';
import { fetchInPage, heard } from './lib/fetch-in-page.js';
import { below, folderOf, readFiles } from './lib/folder.js';
import { MODEL_FILES } from './lib/model-files.js';
import { runMethods } from './lib/runs.js';

// Held as long as this worker lives: whoever gets it knows that the worker is dead.
const alive = `wgrad-${Math.random().toString(36).slice(2)}`;
navigator.locks?.request(alive, () => {
  postMessage({ alive });
  return new Promise(() => {});
});

/** The library. It begins with the page's first message, which says where the wasm is. */
let ready = null;
function begin({ wasmUrl }) {
  ready = init(wasmUrl ? { module_or_path: wasmUrl } : undefined).catch((error) => {
    throw named('WorkerEnded', `the library could not be loaded (${error.message}): are its files built and served?`);
  });
  ready.catch(() => {});
}

let device = null;
let nextHandle = 1;
const loaded = new Map();

async function openDevice({ kind } = {}) {
  await ready;
  if (device) return device;
  if (!navigator.gpu) throw named('NoWebGPU', 'this browser has no WebGPU');
  if (!(await navigator.gpu.requestAdapter())) throw named('NoAdapter', 'WebGPU is there, but found no graphics adapter');
  device = await wgrad.Device.open(kind);
  return device;
}

const need = (handle) => {
  const item = loaded.get(handle);
  if (!item) throw named('Unloaded', 'this model is no longer loaded: load it again');
  return item;
};

function keep(item) {
  const handle = nextHandle++;
  loaded.set(handle, { ...item, queue: Promise.resolve() });
  return handle;
}

/** One call at a time on each thing that is loaded. */
function inTurn(item, work) {
  const turn = item.queue.then(work);
  item.queue = turn.catch(() => {});
  return turn;
}

/** Runs a model, opened as `how` says; a lost device is opened again, once. */
function withModel(item, work, how = item.how) {
  return inTurn(item, async () => {
    if (JSON.stringify(how) !== JSON.stringify(item.how)) {
      const other = await item.open(how);
      item.model.free();
      [item.model, item.how] = [other, how];
    }
    try {
      return await work(item.model);
    } catch (error) {
      if (error.name !== 'DeviceLost') throw error;
      item.model = await item.open(how);
      return work(item.model);
    }
  });
}

/** Gives back what an item holds of the device and of memory. */
function free(item) {
  item.model?.free();
  item.guesser?.model.free();
  item.files?.free();
}

/** Puts files into memory below a folder. */
function stored(files, list, folder) {
  for (const [path, bytes] of list) files.insert(`${folder}/${path}`, bytes);
  return files;
}

/** How the model of a task is opened from files in memory. */
const TASKS = {
  'fill-mask': (gpu, files) => wgrad.FillMask.open(gpu, files, 'model'),
  attention: (gpu, files) => wgrad.Attention.open(gpu, files, 'model'),
  'text-classification': (gpu, files, how) => wgrad.Classifier.open(gpu, files, 'model', how.half),
  'token-classification': (gpu, files, how) => wgrad.TokenClassifier.open(gpu, files, 'model', how.half),
  'feature-extraction': (gpu, files, how) => wgrad.Embedder.open(gpu, files, 'model', JSON.stringify(how)),
};

/** How a head is opened beside an embedder of the same folder, whose weights they share. */
const BESIDE = {
  'text-classification': (files, embedder) => wgrad.Classifier.beside(files, 'model', embedder),
  'token-classification': (files, embedder) => wgrad.TokenClassifier.beside(files, 'model', embedder),
};

/**
 * Compares what the adapter computes with the reference vectors of the model, if it has them: throws if it computes
 * wrong. Every task runs the same encoder, so an embedder checks for all; an item that embeds keeps it as its model.
 */
async function verified(gpu, files, task, item, report) {
  if (!JSON.parse(files.paths()).includes(`model/${MODEL_FILES.reference}`)) return null;
  report({ status: 'verify' });
  const embeds = task === 'feature-extraction';
  let embedder = null;
  try {
    embedder = await TASKS['feature-extraction'](gpu, files, embeds ? item.how : { half: false });
    const found = JSON.parse(await embedder.verify(files, 'model'));
    if (found.stale) report({ status: 'warning', message: found.stale });
    if (embeds) item.model = embedder;
    return found.right ?? null;
  } catch (error) {
    // Files that cannot be read say nothing of the adapter. What the task needs of them is told when it opens them.
    if (!['FileError', 'ConfigError'].includes(error.name)) throw error;
    report({ status: 'warning', message: `this adapter was not checked: ${error.message}` });
    return null;
  } finally {
    if (item.model !== embedder) embedder?.free();
  }
}

const methods = {
  ...runMethods({ library: async () => (await ready, wgrad), openDevice, keep, need, inTurn, stored }),

  /** What the device is; opens it. */
  async device({ options }) {
    return JSON.parse((await openDevice(options)).about());
  },

  /** Loads a model: from a URL, or from files that were dropped. */
  async load({ task, model, options }, report, signal) {
    const gpu = await openDevice(options);
    signal.throwIfAborted();
    const opener = TASKS[task];
    if (!opener) throw named('ConfigError', `task: expected one of ${Object.keys(TASKS).join(', ')}, found ${task}`);
    const { inPage, ...fetching } = options.fetching ?? {};
    const how = { ...fetching, fetch: inPage ? fetchInPage : fetch, hashes: options.hashes, verify: options.verify, report, signal };
    let list;
    if (typeof model === 'string' && !isArchive(model)) {
      list = [...(await downloadModel(model, how))];
    } else {
      const pairs = typeof model === 'string' ? [['model.zip', new Blob([await download(model, '', how)])]] : model;
      const files = await readFiles(pairs);
      const root = folderOf(files, 'modules.json') ?? folderOf(files, 'config.json');
      if (root === null) throw named('FileError', `expected the folder of a model, found no config.json among its ${files.length} files`);
      list = below(files, root);
    }
    signal.throwIfAborted();
    const files = stored(new wgrad.Files(), list, 'model');
    const item = { files, open: (how) => opener(gpu, files, how) };
    // Left out, it follows the file.
    item.how = { half: { fp16: true, fp32: false }[options.dtype] };
    if (item.how.half && !JSON.parse(gpu.about()).f16) {
      report({ status: 'warning', message: 'this adapter has no f16: computing in f32' });
    }
    const comparison = options.verify ? await verified(gpu, files, task, item, report) : null;
    item.model ??= await item.open(item.how);
    if (signal.aborted) {
      free(item);
      signal.throwIfAborted();
    }
    report({ status: 'ready', task, model: typeof model === 'string' ? model : undefined });
    const about = JSON.parse(item.model.about?.() ?? 'null');
    return { handle: keep(item), verified: comparison, about };
  },

  /** Opens what is loaded for another task too: nothing is downloaded, and an embedder's weights are there once. */
  async share({ handle, task }, report, signal) {
    const from = need(handle);
    const gpu = await openDevice();
    const files = from.files.share();
    const item = { files, how: { half: from.how.half }, open: (how) => TASKS[task](gpu, files, how) };
    const beside = from.model instanceof wgrad.Embedder && BESIDE[task];
    try {
      item.model = beside ? await withModel(from, (embedder) => beside(files, embedder)) : await item.open(item.how);
      signal.throwIfAborted();
    } catch (error) {
      free(item);
      throw error;
    }
    return { handle: keep(item), verified: null, about: JSON.parse(item.model.about?.() ?? 'null') };
  },

  async fill({ handle, text, topK }) {
    return JSON.parse(await withModel(need(handle), (model) => model.fill(text, topK)));
  },

  /** The classes of texts, or of pairs of texts: `[[text, pair or null]]`. */
  async classify({ handle, texts }, report, signal) {
    const answer = (model) => {
      signal.throwIfAborted();
      return model.predict(JSON.stringify(texts), (done) => report({ status: 'classified', done, total: texts.length }));
    };
    return JSON.parse(await withModel(need(handle), answer));
  },

  /** The entities of texts. */
  async tag({ handle, texts }) {
    return JSON.parse(await withModel(need(handle), (model) => model.tag(texts)));
  },

  /** Where a model looks in a text, or in a pair of texts. */
  async attend({ handle, text, pair }) {
    const found = await withModel(need(handle), (model) => model.read(text, pair));
    const answer = { ...JSON.parse(found.about()), data: found.values() };
    found.free();
    return answer;
  },

  /** Vectors of texts. Made otherwise than at the last call, they open the model anew, from files that are here. */
  async embed({ handle, texts, how }, report, signal) {
    const item = need(handle);
    const found = await withModel(
      item,
      (model) => signal.aborted ? signal.throwIfAborted() : model.embed(texts, (done) => report({ status: 'embedded', done, total: texts.length })),
      { half: item.how.half, ...how },
    );
    const answer = { data: found.values(), width: found.width(), truncated: found.truncated() };
    found.free();
    return answer;
  },

  async tokenize({ handle, texts }) {
    return JSON.parse(await withModel(need(handle), (model) => model.tokenize(texts)));
  },

  /** Frees what was loaded, when the step that it is at is over: until then the device needs it. */
  async unload({ handle }) {
    const item = loaded.get(handle);
    if (!item) return;
    loaded.delete(handle);
    item.stop?.stop();
    await item.training;
    await inTurn(item, () => free(item));
    await item.keeper?.close();
  },

  async generate({ words, documents, seed }) {
    await ready;
    return wgrad.generate_text(words, BigInt(documents), BigInt(seed));
  },
};

/** What is being worked at, by the number of its call, to be given up when the page says so. */
const running = new Map();

onmessage = async ({ data }) => {
  if (data.begin) return begin(data.begin);
  if (data.fetched) return heard(data.fetched);
  const { id, method, params, cancel } = data;
  if (cancel) return running.get(id)?.abort();
  const report = (event) => postMessage({ id, event });
  const call = new AbortController();
  running.set(id, call);
  try {
    const result = await methods[method](params, report, call.signal);
    // Numbers are handed over, not copied.
    postMessage({ id, result }, result?.data instanceof Float32Array ? [result.data.buffer] : []);
  } catch (error) {
    // A panic leaves the module in no defined state: the page ends this worker and starts another.
    const fatal = error instanceof WebAssembly.RuntimeError || error instanceof WebAssembly.LinkError;
    const told = fatal ? named('Crashed', `the library stopped (${error.message}); the file may be broken`) : error;
    postMessage({ id, error: packed(told), fatal });
  } finally {
    running.delete(id);
  }
};
