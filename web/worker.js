// The worker: the library, the device and all that is loaded live here, so that the page never waits.

import init, * as wgrad from './wasm/wgrad.js';
import { download, downloadModel } from './lib/download.js';
import { isArchive } from './lib/address.js';
import { named, packed } from './lib/errors.js';
import { fetchInPage, heard } from './lib/fetch-in-page.js';
import { below, folderOf, readFiles } from './lib/folder.js';
import { MODEL_FILES } from './lib/model-files.js';
import { zip } from './lib/zip.js';

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

/** Lets messages in between two long steps, and gives up if one of them said so. */
async function heardOut(signal) {
  await new Promise((done) => setTimeout(done));
  signal.throwIfAborted();
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
  'text-classification': (gpu, files, how) => wgrad.Embedder.open(gpu, files, 'model', JSON.stringify({ ...how, classify: true })),
  'token-classification': (gpu, files, how) => wgrad.TokenClassifier.open(gpu, files, 'model', Boolean(how.half)),
  'feature-extraction': (gpu, files, how) => wgrad.Embedder.open(gpu, files, 'model', JSON.stringify(how)),
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

/** The structure in a file of JSON, or null. What need not be there is no reason to refuse a run. */
function parsed(bytes) {
  try {
    return JSON.parse(typeof bytes === 'string' ? bytes : new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

/** The rows of `metrics.jsonl`; its last line may have been cut off. */
const rowsOf = (bytes) => new TextDecoder().decode(bytes).split('\n').map(parsed).filter((row) => Number.isFinite(row?.step));

const methods = {
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

  async fill({ handle, text, topK }) {
    return JSON.parse(await withModel(need(handle), (model) => model.fill(text, topK)));
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

  /** Begins a run on new text: learns a vocabulary, cuts the text into sequences. */
  async prepare({ inputs, options }, report, signal) {
    await ready;
    const files = new wgrad.Files();
    const list = await readFiles(inputs);
    const names = list.map(([path, bytes]) => {
      const name = /\.(txt|csv|tsv|jsonl)(\.gz)?$/i.test(path) ? path : `${path}.txt`;
      files.insert(`text/${name}`, bytes);
      return `text/${name}`;
    });
    const common = { inputs: names, by_paragraph: options.documents === 'paragraph' };
    if (options.tokenizer) {
      stored(files, await readFiles([['tokenizer.json', options.tokenizer]]), 'tokenizer');
    } else {
      report({ status: 'tokenizer' });
      await heardOut(signal);
      wgrad.train_tokenizer(files, JSON.stringify({ ...common, vocab_size: options.vocabulary, out: 'tokenizer' }));
    }
    report({ status: 'sequences' });
    await heardOut(signal);
    const summary = wgrad.prepare_data(
      files,
      JSON.stringify({ ...common, tokenizer: 'tokenizer', seq_len: options.seqLen, join: options.join && !options.pack, pack: options.pack, held_out: options.heldOut, seed: options.seed, out: 'data' }),
    );
    files.remove('text');
    return { handle: keep({ files, begun: false }), data: JSON.parse(summary) };
  },

  /** Takes over a run from the program or from another page: its checkpoints, with its data if they are there. */
  async adopt({ inputs, text, options }, report, signal) {
    await ready;
    const list = await readFiles(inputs);
    const root = folderOf(list, 'train.json');
    if (root === null) throw named('FileError', 'expected the folder of a training run, found no train.json in it');
    const inside = below(list, root);
    const checkpoints = inside.filter(([path]) => path.startsWith('checkpoints/'));
    if (checkpoints.length === 0) throw named('FileError', 'expected a run with checkpoints/, found none in this folder');
    const recipe = parsed(inside.find(([path]) => path === 'train.json')[1]);
    if (!recipe) throw named('FileError', 'train.json: expected the recipe of a run in JSON, found something else');
    let files = new wgrad.Files();
    let data = folderOf(list, 'dataset.json');
    let handle;
    let summary = null;
    if (data !== null) {
      stored(files, below(list, data), 'data');
      handle = keep({ files, begun: true });
    } else {
      const tokenizer = inside.find(([path]) => path === 'tokenizer.json');
      if (!text?.length || !tokenizer) {
        throw named('NoData', `to go on, the run needs text${tokenizer ? '' : ' and its tokenizer.json'}: drop its data folder too, or paste text`);
      }
      const prepared = await methods.prepare(
        { inputs: text, options: { ...options, tokenizer: tokenizer[1], seqLen: recipe.seq_len } },
        report,
        signal,
      );
      handle = prepared.handle;
      summary = prepared.data;
      files = need(handle).files;
      need(handle).begun = true;
    }
    stored(files, inside.filter(([path]) => !path.startsWith('data/')), 'run');
    const metrics = inside.find(([path]) => path === 'metrics.jsonl');
    const about = data !== null && below(list, data).find(([path]) => path === 'dataset.json');
    const entropy = about ? parsed(about[1])?.unigram_entropy : undefined;
    return { handle, recipe, data: summary, ownData: data !== null, rows: metrics ? rowsOf(metrics[1]) : [], entropy };
  },

  /** Trains until the end, or until `pause`. */
  async train({ handle, options }, report) {
    const item = need(handle);
    if (item.stop) throw named('ConfigError', 'this run is being trained already');
    const gpu = await openDevice(options.device);
    item.stop = new wgrad.Stop();
    const settings = {
      out: 'run',
      data: 'data',
      preset: item.begun ? undefined : options.preset,
      set: options.set,
      resume: item.begun,
      allow_changes: options.allowChanges ?? false,
      about_data: options.aboutData,
    };
    let over;
    item.training = new Promise((resolve) => (over = resolve));
    try {
      const summary = await wgrad.pretrain(gpu, item.files, JSON.stringify(settings), item.stop, (text) => {
        const event = JSON.parse(text);
        // From here on there is something to go on with.
        if (event.event === 'checkpoint') item.begun = true;
        if (event.event === 'checkpoint') item.checkpoint = event.path;
        report(event);
      });
      return JSON.parse(summary);
    } finally {
      item.stop.free();
      item.stop = null;
      over();
    }
  },

  async pause({ handle }) {
    need(handle).stop?.stop();
  },

  /** Guesses with the weights of the newest checkpoint. */
  async guess({ handle, text, topK }) {
    const item = need(handle);
    if (!item.checkpoint) {
      const steps = JSON.parse(item.files.paths()).map((path) => path.match(/^run\/checkpoints\/step-\d+/)?.[0]);
      item.checkpoint = steps.filter(Boolean).sort().pop();
    }
    if (!item.checkpoint) throw named('ConfigError', 'there is no checkpoint yet: train a little first');
    return inTurn(item, async () => {
      if (item.guesser?.of !== item.checkpoint) {
        const of = item.checkpoint;
        const model = await wgrad.FillMask.open_checkpoint(device ?? (await openDevice()), item.files, 'run/train.json', of, 'data');
        item.guesser?.model.free();
        item.guesser = { of, model };
      }
      return JSON.parse(await item.guesser.model.fill(text, topK));
    });
  },

  /** All files of a run: what `wgrad` on a computer opens, with the data to go on. */
  async files({ handle, name, archive }) {
    const { files } = need(handle);
    const paths = JSON.parse(files.paths()).filter((path) => /^(run|data)\//.test(path));
    const list = paths.map((path) => [path.startsWith('run/') ? path.slice(4) : path, files.get(path)]);
    if (archive) return zip(list.map(([path, bytes]) => [`${name}/${path}`, bytes]));
    return list;
  },

  /** Frees what was loaded, when the step that it is at is over: until then the device needs it. */
  async unload({ handle }) {
    const item = loaded.get(handle);
    if (!item) return;
    loaded.delete(handle);
    item.stop?.stop();
    await item.training;
    await inTurn(item, () => free(item));
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
