// Models that answer: vectors, guesses, attention.

import { addressOf, filesOf } from './address.js';
import { env } from './env.js';
import { named } from './errors.js';
import { client, either } from './page.js';
import { Tensor } from './tensor.js';

/** A model in the worker that is loaded again when the worker was lost. */
class Loaded {
  /** How the adapter's vectors compare with the model's reference vectors; null where that was not asked or not known. */
  verified = null;
  /** What the model's folder says of it; null where the task has nothing to say. */
  about = null;
  #load;
  #now = null;
  #generation = -1;
  #life = new AbortController();

  /** How the files are loaded for a task, whatever becomes of the pipeline that they were first loaded for. */
  source;

  /** `load(signal)` loads it, and answers with `{ handle, verified, about }`. */
  constructor(load, source) {
    this.#load = load;
    this.source = source;
  }

  get disposed() {
    return this.#life.signal.aborted;
  }

  /** What the worker calls it. Loads it where the worker has it not, once for all that wait. */
  handle(signal) {
    if (this.#now === null || this.#generation !== client.generation) {
      const loading = this.#load(either(signal, this.#life.signal)).then(({ handle, verified, about }) => {
        [this.verified, this.about] = [verified, about];
        return handle;
      });
      [this.#now, this.#generation] = [loading, client.generation];
      loading.catch(() => {
        // Nothing is left of what failed, so that the next call tries again.
        if (this.#now === loading) this.#now = null;
      });
    }
    return this.#now;
  }

  async call(method, params, { signal, ...extra } = {}) {
    const both = either(signal, this.#life.signal);
    both.throwIfAborted();
    const handle = await this.handle(signal);
    return client.call(method, { handle, ...params }, { ...extra, signal: both });
  }

  /** Gives up what is running and frees it, after the step of it that the device is at. */
  async dispose() {
    if (this.disposed) return;
    const [loading, generation] = [this.#now, this.#generation];
    this.#life.abort(named('Disposed', 'this model was disposed of: call pipeline() for another'));
    const handle = await loading?.catch(() => null);
    if (handle && generation === client.generation) await client.call('unload', { handle });
  }
}

const text = (value, where) => {
  if (typeof value !== 'string') throw named('ConfigError', `${where}: expected a text, found ${value === null ? 'null' : typeof value}`);
  return value;
};
const list = (texts) => (Array.isArray(texts) ? texts : [texts]).map((one) => text(one, 'texts'));
/** A text, or a pair of texts, as `[text, pair]`, where no pair is null. */
const pairOf = (one) => {
  if (one === null || typeof one !== 'object') return [text(one, 'texts'), null];
  return [text(one.text, 'text'), one.text_pair == null ? null : text(one.text_pair, 'text_pair')];
};
const count = (value, where) => {
  if (!Number.isFinite(value) || value < 1) throw named('ConfigError', `${where}: expected a number of 1 or more, found ${value}`);
  return Math.floor(value);
};

/** Texts are sent in parts of at most so many, and so many letters: between two the page breathes and can give up. */
const [PART, LETTERS] = [256, 1 << 18];

function* parts(texts, lengthOf = ({ length }) => length) {
  for (let start = 0, end = 0; start < texts.length; start = end) {
    let letters = 0;
    do letters += lengthOf(texts[end++]);
    while (end < texts.length && end - start < PART && letters + lengthOf(texts[end]) < LETTERS);
    yield texts.slice(start, end);
  }
}

/** The rows of `[texts, width]` numbers for any number of texts, sent in parts; `how` is how they are asked for. */
async function rows(model, all, how, { progress_callback, signal }) {
  let [data, width, truncated, before] = [null, 0, 0, 0];
  // No texts at all are asked for too: the width is known only there.
  for (const part of all.length ? parts(all) : [[]]) {
    const onEvent = progress_callback && (({ done }) => progress_callback({ status: 'embedded', done: before + done, total: all.length }));
    const found = await model.call('embed', { texts: part, how }, { onEvent, signal });
    data ??= part.length === all.length ? found.data : new Float32Array(all.length * found.width);
    if (part.length < all.length) data.set(found.data, before * found.width);
    width = found.width;
    truncated += found.truncated;
    before += part.length;
  }
  return { data, width, truncated };
}

/** Where each character of a text begins, and the text ends, in the units that JavaScript counts and slices by. */
function places(text) {
  const places = [0];
  for (const character of text) places.push(places.at(-1) + character.length);
  return places;
}

const CALLS = {
  'token-classification': (model) => {
    /** As the pipeline of transformers with an aggregation: the entities of a text, or a list of them for each. */
    const tag = async (texts, { progress_callback, signal } = {}) => {
      const all = list(texts);
      const answers = [];
      let truncated = 0;
      for (const part of parts(all)) {
        for (const found of await model.call('tag', { texts: part }, { signal })) {
          const at = places(all[answers.length]);
          if (found.truncated > 0) truncated++;
          answers.push(found.entities.map(({ label, score, text, start, end }) => ({ entity_group: label, score, word: text, start: at[start], end: at[end] })));
        }
        progress_callback?.({ status: 'tagged', done: answers.length, total: all.length });
      }
      return Object.assign(Array.isArray(texts) ? answers : answers[0], { truncated });
    };
    return tag;
  },
  'text-classification': (model) => {
    /**
     * As in transformers.js: with a `top_k` of 1 one answer for each text, else a list for each. A text is one, or a pair,
     * `{ text, text_pair }`.
     */
    const classify = async (texts, { top_k = 1, progress_callback, signal } = {}) => {
      const most = top_k === null ? Infinity : count(top_k, 'top_k');
      const all = (Array.isArray(texts) ? texts : [texts]).map(pairOf);
      const answers = [];
      let truncated = 0;
      for (const part of parts(all, ([one, pair]) => one.length + (pair?.length ?? 0))) {
        const before = answers.length;
        const onEvent = progress_callback && (({ status, done }) => progress_callback({ status, done: before + done, total: all.length }));
        for (const found of await model.call('classify', { texts: part }, { onEvent, signal })) {
          if (found.truncated > 0) truncated++;
          const { labels } = model.about;
          const scores = (found.probabilities ?? [found.score]).map((score, i) => ({ label: labels[i], score }));
          answers.push(scores.sort((a, b) => b.score - a.score).slice(0, most));
        }
      }
      const flat = most === 1 ? answers.flat() : Array.isArray(texts) ? answers : answers[0];
      return Object.assign(flat, { truncated });
    };
    return Object.defineProperties(classify, { labels: { get: () => model.about?.labels ?? [] } });
  },
  'feature-extraction': (model) => {
    let how = {};
    const embed = async (texts, { pooling, normalize, prompt, prompt_name, dimensions, progress_callback, signal } = {}) => {
      // What is left out of JSON is as the folder says, and what pooling and normalizing are stays as the last call said.
      how = { ...how, ...(pooling !== undefined && { pooling }), ...(normalize !== undefined && { normalize }) };
      const asked = { ...how, prompt, prompt_name, dimensions };
      const all = list(texts);
      const { data, width, truncated } = await rows(model, all, asked, { progress_callback, signal });
      return Object.assign(new Tensor(data, [all.length, width]), { truncated });
    };
    /** The token ids of each text, as the model sees them. */
    embed.tokenize = (texts, { signal } = {}) => model.call('tokenize', { texts: list(texts) }, { signal });
    /** What may be put in front of texts, by its name, and the name of what is where nothing is asked for. */
    Object.defineProperties(embed, {
      prompts: { get: () => model.about?.prompts ?? {} },
      default_prompt: { get: () => model.about?.default_prompt ?? null },
      /** The classes that the model tells apart too, by the task text-classification. */
      labels: { get: () => model.about?.labels ?? [] },
      /** Whether it labels words too, by the task token-classification. */
      tags: { get: () => model.about?.tags ?? false },
    });
    return embed;
  },
  attention: (model) => async (sentence, { pair, signal } = {}) => {
    const params = { text: text(sentence, 'text'), pair: pair == null ? undefined : text(pair, 'pair') };
    const { data, layers, heads, tokens, truncated } = await model.call('attend', params, { signal });
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
  'fill-mask': (model) => async (texts, { top_k = 5, signal } = {}) => {
    const topK = count(top_k, 'top_k');
    const one = async (text) => {
      const { masks } = await model.call('fill', { text, topK }, { signal });
      // A sequence is the text with one guess: the other holes are filled with what is likeliest there.
      const pieces = text.split('[MASK]');
      const sequence = (at, guess) => pieces.map((piece, i) => (i < masks.length ? piece + (i === at ? guess : masks[i].candidates[0].text) : piece)).join('');
      const found = masks.map(({ candidates }, at) =>
        candidates.map(({ probability, id, text: guess }) => ({ score: probability, token: id, token_str: guess, sequence: sequence(at, guess) })),
      );
      return found.length === 1 ? found[0] : found;
    };
    const all = list(texts);
    const found = [];
    for (const text of all) found.push(await one(text));
    return Array.isArray(texts) ? found : found[0];
  },
};

/** Where a model's files are, and how they are fetched. */
async function sourceOf(model, { revision, token }) {
  const from = typeof model === 'string' || model instanceof URL ? addressOf(String(model), revision) : await filesOf(model);
  // The token is for the host that gives it, and for no other.
  const trusted = typeof from === 'string' && new URL(from).origin === new URL(env.remoteHost).origin;
  return { model: from, fetching: { cache: env.cache, inPage: Boolean(env.fetch), token: trusted ? token : undefined } };
}

/** What is said of a model once, where it is loaded. */
const OF_LOADING = ['dtype', 'verify', 'kind', 'hashes', 'revision', 'token'];

/** What the pipelines run. */
const MODELS = new WeakMap();

/**
 * Loads a model and gives back the function that runs it.
 *
 * `model` is a name on Hugging Face, the address of a folder or a zip archive, files as `droppedFiles` and `chosenFiles`
 * give them, or another pipeline, whose model is then asked for this task
 * too: its files are not fetched again, and options of loading are refused. With `verify` it rejects with `WrongResult` where the adapter does not compute the model's
 * `reference_vectors.json`, if it has one.
 */
export async function pipeline(task, model, options = {}) {
  const { device = 'webgpu', dtype = 'fp32', progress_callback = () => {}, kind, hashes, verify = false, revision = 'main', token, signal } = options;
  if (device !== 'webgpu') throw named('ConfigError', `device: expected webgpu, found ${device}`);
  if (!['fp32', 'fp16', 'auto'].includes(dtype)) throw named('ConfigError', `dtype: expected fp32, fp16 or auto, found ${dtype}`);
  if (!Object.hasOwn(CALLS, task)) throw named('ConfigError', `task: expected one of ${Object.keys(CALLS).join(', ')}, found ${task}`);
  const from = MODELS.get(model);
  const given = from && OF_LOADING.find((name) => options[name] !== undefined);
  if (given) throw named('ConfigError', `${given}: expected none beside another pipeline, whose model is loaded, found one: give it where the model is loaded`);
  if (from?.disposed) throw named('Disposed', 'model: expected a pipeline that has its model, found one that was disposed of');
  const { model: files, fetching } = from ? {} : await sourceOf(model, { revision, token });
  const source = from?.source ?? ((task, extra) => client.call('load', { task, model: files, options: { kind, hashes, dtype, verify, fetching } }, extra));
  const load = async (signal) => {
    // A worker that died took the model along, and nobody else loads it again.
    if (!from || from.disposed) return source(task, { onEvent: progress_callback, signal });
    const found = await client.call('share', { handle: await from.handle(signal), task }, { signal });
    return { ...found, verified: from.verified };
  };
  const loaded = new Loaded(load, source);
  await loaded.handle(signal);
  const call = CALLS[task](loaded);
  MODELS.set(call, loaded);
  call.dispose = () => loaded.dispose();
  call.task = task;
  call.verified = loaded.verified;
  return call;
}
