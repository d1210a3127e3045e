// wgrad in a page: models and training on WebGPU. Names follow transformers.js where there is the same thing.

import { Client } from './lib/client.js';
import { named } from './lib/errors.js';

export { chosenFiles, droppedFiles } from './lib/folder.js';
export { Tensor } from './lib/tensor.js';
export { webgpuStatus } from './lib/support.js';
import { Tensor } from './lib/tensor.js';

/** Settings for all that follows. Change them before the first call. */
export const env = {
  /** The worker's script, for pages that serve it elsewhere. */
  workerUrl: new URL('./worker.js', import.meta.url),
};

let shared = null;
const client = () => (shared ??= new Client(env.workerUrl));

/** Ends the worker and frees all that it holds. What was loaded loads again when it is used. */
export function terminate() {
  shared?.terminate();
}

/** What the browser's graphics adapter offers. */
export const deviceInfo = (options = {}) => client().call('device', { options });

/** A model in the worker that is loaded again when the worker was lost. */
class Loaded {
  /** How the adapter's vectors compare with the model's reference vectors; null where that was not asked or not known. */
  verified = null;
  #load;
  #handle = null;
  #generation = -1;

  constructor(load) {
    this.#load = load;
  }

  async handle() {
    if (this.#handle === null || this.#generation !== client().generation) {
      ({ handle: this.#handle, verified: this.verified } = await this.#load());
      this.#generation = client().generation;
    }
    return this.#handle;
  }

  async call(method, params, extra) {
    return client().call(method, { handle: await this.handle(), ...params }, extra);
  }

  async dispose() {
    if (this.#handle !== null && this.#generation === client().generation) {
      await client().call('unload', { handle: this.#handle });
    }
    this.#handle = null;
  }
}

const CALLS = {
  'feature-extraction': (model) => {
    const embed = async (texts, { pooling, normalize, progress_callback } = {}) => {
      const list = Array.isArray(texts) ? texts : [texts];
      const params = { texts: list, pooling, normalize };
      const found = await model.call('embed', params, { onEvent: progress_callback });
      return Object.assign(new Tensor(found.data, [list.length, found.width]), { truncated: found.truncated });
    };
    /** The token ids of each text, as the model sees them. */
    embed.tokenize = (texts) => model.call('tokenize', { texts: Array.isArray(texts) ? texts : [texts] });
    return embed;
  },
  attention: (model) => async (text, { pair } = {}) => {
    const { data, layers, heads, tokens, truncated } = await model.call('attend', { text, pair });
    const side = tokens.length;
    const map = new Tensor(data, [layers, heads, side, side]);
    /** One head's `[tokens, tokens]`: from the token of a row to that of a column. */
    const head = (layer, head) => {
      const among = (at, count) => Number.isInteger(at) && at >= 0 && at < count;
      if (!among(layer, layers) || !among(head, heads)) {
        throw named('ConfigError', `head: expected a layer below ${layers} and a head below ${heads}, found ${layer} and ${head}`);
      }
      const start = (layer * heads + head) * side * side;
      return new Tensor(data.subarray(start, start + side * side), [side, side]);
    };
    return Object.assign(map, { layers, heads, tokens, truncated, head });
  },
  'fill-mask': (model) => async (texts, { top_k = 5 } = {}) => {
    const one = async (text) => {
      const filled = await model.call('fill', { text, topK: top_k });
      const masks = filled.masks.map((mask) =>
        mask.candidates.map((guess) => ({
          score: guess.probability,
          token: guess.id,
          token_str: guess.text,
          sequence: text.replace('[MASK]', () => guess.text),
        })),
      );
      return masks.length === 1 ? masks[0] : masks;
    };
    if (!Array.isArray(texts)) return one(texts);
    const all = [];
    for (const text of texts) all.push(await one(text));
    return all;
  },
};

/**
 * Loads a model and gives back the function that runs it.
 *
 * `model` is the URL of a folder, or the files of one as `droppedFiles` and `chosenFiles` give them. With `verify` it
 * rejects with `WrongResult` where the adapter does not compute the model's `reference_vectors.json`, if it has one.
 */
export async function pipeline(task, model, options = {}) {
  const { device = 'webgpu', dtype = 'fp32', progress_callback = () => {}, kind, hashes, verify = false } = options;
  if (device !== 'webgpu') throw named('ConfigError', `device: expected webgpu, found ${device}`);
  if (!['fp32', 'fp16', 'auto'].includes(dtype)) throw named('ConfigError', `dtype: expected fp32, fp16 or auto, found ${dtype}`);
  if (!CALLS[task]) throw named('ConfigError', `task: expected one of ${Object.keys(CALLS).join(', ')}, found ${task}`);
  const params = { task, model, options: { kind, hashes, dtype, verify } };
  const loaded = new Loaded(() => client().call('load', params, { onEvent: progress_callback }));
  await loaded.handle();
  const call = CALLS[task](loaded);
  call.dispose = () => loaded.dispose();
  call.task = task;
  call.verified = loaded.verified;
  return call;
}

/** A text as a list of one file, and the memory to give away with it: to copy megabytes would take the page's time. */
function handedOver(text) {
  const bytes = new TextEncoder().encode(text);
  return [[['text.txt', bytes]], [bytes.buffer]];
}

/** Pretrains a small BERT, as `wgrad pretrain` does. */
export class Trainer extends EventTarget {
  #handle;
  #generation;
  #options;
  #training = null;

  constructor(handle, options) {
    super();
    this.#handle = handle;
    this.#generation = client().generation;
    this.#options = options;
  }

  /**
   * A new run on text: one string, or files. Options: `preset`, `steps`, `seqLen`, `vocabulary`, `join`, `pack`,
   * `heldOut`, `documents` (`line` or `paragraph`), `set` (recipe keys as on the command line), `kind`.
   */
  static async create(text, options = {}) {
    const [inputs, transfer] = typeof text === 'string' ? handedOver(text) : [text];
    const { handle, data } = await client().call(
      'prepare',
      { inputs, options: { vocabulary: 2048, seqLen: 64, join: true, heldOut: 0.05, documents: 'line', ...options } },
      { onEvent: options.progress_callback, transfer },
    );
    const trainer = new Trainer(handle, options);
    trainer.data = data;
    return trainer;
  }

  /** Goes on with a run: the files of its folder, with `data/` in it or beside it, or with `text` to go on with. */
  static async resume(files, options = {}) {
    const [text, transfer] = options.text ? handedOver(options.text) : [null];
    const given = { join: true, heldOut: 0.05, documents: 'line', ...options };
    delete given.text;
    delete given.progress_callback;
    const answer = await client().call(
      'adopt',
      { inputs: files, text, options: given },
      { onEvent: options.progress_callback, transfer },
    );
    const trainer = new Trainer(answer.handle, { ...options, allowChanges: !answer.ownData || options.allowChanges });
    trainer.data = answer.data;
    trainer.recipe = answer.recipe;
    return trainer;
  }

  #call(method, params = {}, extra = {}) {
    if (this.#generation !== client().generation) {
      throw named('Unloaded', 'the worker that held this run has ended: begin again, or from a saved checkpoint');
    }
    return client().call(method, { handle: this.#handle, ...params }, extra);
  }

  /** Whether it is being trained right now. */
  get training() {
    return this.#training !== null;
  }

  /**
   * Trains to the last step, or until `pause()`; called again, it goes on. Events: `ready`, `step` (its `detail.row`
   * is a row of `metrics.jsonl`), `checkpoint`, `warning`, `device-lost`. Gives back the run's summary.
   */
  async train() {
    if (this.#training) return this.#training;
    const { preset = 'micro', steps, set = [], kind, allowChanges, aboutData } = this.#options;
    const assignments = [...set];
    if (steps) assignments.push(`steps=${steps}`);
    const options = { preset, set: assignments, allowChanges, aboutData, device: { kind } };
    const onEvent = (detail) => this.dispatchEvent(new CustomEvent(detail.event, { detail }));
    this.#training = this.#call('train', { options }, { onEvent });
    try {
      return await this.#training;
    } finally {
      this.#training = null;
    }
  }

  /** Stops after the current step and saves a checkpoint; `train()` goes on from there. */
  async pause() {
    const training = this.#training;
    if (!training) return;
    await this.#call('pause');
    await training.catch(() => {});
  }

  /** Guesses the `[MASK]`s of a text with the weights of the newest checkpoint; works while training too. */
  fillMask(text, { top_k = 5 } = {}) {
    return this.#call('guess', { text, topK: top_k });
  }

  /** The run's files as `[path, Uint8Array]` pairs: a folder that `wgrad` on a computer loads and trains on. */
  files() {
    return this.#call('files', {});
  }

  /** The same as a zip archive that unpacks into a folder called `name`. */
  zip(name = 'wgrad-run') {
    return this.#call('files', { name, archive: true });
  }

  dispose() {
    return this.#call('unload');
  }
}

/** A small made-up English, the text of `wgrad quickstart`: documents of `words` words, one a line. */
export const generateText = ({ words = 62, documents = 2000, seed = 1 } = {}) =>
  client().call('generate', { words, documents, seed });

/** The cosine of the angle between two vectors, from -1 to 1. */
export function cosine(a, b) {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return aa && bb ? dot / Math.sqrt(aa * bb) : 0;
}
