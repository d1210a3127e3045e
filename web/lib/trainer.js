// Training runs.

import { filesOf } from './address.js';
import { named } from './errors.js';
import { client, either } from './page.js';
import { assignments, preparation } from './settings.js';

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

  /** Use `Trainer.create` or `Trainer.resume`. */
  constructor(handle, options, { data = null, recipe = null, rows = [], entropy = null } = {}) {
    super();
    this.#handle = handle;
    this.#options = options;
    this.#begun = recipe !== null;
    [this.data, this.recipe, this.rows, this.unigramEntropy] = [data, recipe, rows, entropy ?? data?.unigram_entropy ?? null];
  }

  /**
   * A new run on text: one string, or files. Options: `preset`, `steps`, `batch`, `seqLen`, `vocabulary`, `join`,
   * `pack`, `heldOut`, `documents` (`line` or `paragraph`), `seed`, `set` (recipe keys as on the command line), `kind`,
   * `signal`.
   */
  static async create(text, options = {}) {
    const { progress_callback, signal, ...kept } = options;
    const prepared = preparation(kept);
    assignments(kept, null); // What is wrong with them is told before the text is read.
    const inputs = await inputsOf(text);
    const { handle, data } = await client.call('prepare', { inputs, options: prepared }, { onEvent: progress_callback, signal });
    return new Trainer(handle, kept, { data });
  }

  /** Goes on with a run: the files of its folder, with `data/` in it or beside it, or with `text` to go on with. */
  static async resume(files, options = {}) {
    const { progress_callback, signal, text, ...kept } = options;
    const prepared = preparation(kept);
    const given = text ? await inputsOf(text) : null;
    const params = { inputs: await filesOf(files), text: given, options: prepared };
    const { handle, data, recipe, ownData, rows, entropy } = await client.call('adopt', params, { onEvent: progress_callback, signal });
    return new Trainer(handle, { ...kept, allowChanges: !ownData || kept.allowChanges }, { data, recipe, rows, entropy });
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
   * Trains to the last step, or until `pause()`; called again, it goes on. Events: `ready`, `step` (its `detail.row`
   * is a row of `metrics.jsonl`), `checkpoint`, `warning`, `device-lost`. Gives back the run's summary. An aborted
   * `signal` stops it as `pause()` does, and rejects.
   */
  async train({ signal } = {}) {
    signal?.throwIfAborted();
    if (this.#training) return this.#training;
    const { preset = 'micro', kind, allowChanges, aboutData } = this.#options;
    // A run that is gone on with keeps its recipe but for what is set.
    const set = this.#begun ? [...(this.#options.set ?? []), ...(this.#options.steps ? [`steps=${this.#options.steps}`] : [])] : assignments(this.#options, this.data);
    const options = { preset, set, allowChanges, aboutData, device: { kind } };
    const onEvent = (detail) => this.dispatchEvent(new CustomEvent(detail.event, { detail }));
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

  /** Stops after the current step and saves a checkpoint; `train()` goes on from there. */
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

  /** Stops after the current step and frees the run; what is waited for rejects with `Disposed`. */
  async dispose() {
    if (this.#life.signal.aborted) return;
    this.#life.abort(named('Disposed', 'this run was disposed of'));
    if (this.#generation === client.generation) await client.call('unload', { handle: this.#handle });
  }
}
