// What the worker does for training runs: text to data, steps, checkpoints; kept in the browser where that is asked for.

import { named } from './errors.js';
import { below, folderOf, readFiles } from './folder.js';
import { Keeper } from './kept.js';
import { zip } from './zip.js';

/** Lets messages in between two long steps, and gives up if one of them said so. */
async function heardOut(signal) {
  await new Promise((done) => setTimeout(done));
  signal.throwIfAborted();
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

/** The newest checkpoint among paths below a run's folder, or none. */
const newestOf = (paths) => paths.map((path) => path.match(/^checkpoints\/step-\d+/)?.[0]).filter(Boolean).sort().pop();

/** Copies of the files below a folder of a run, as `[path, bytes]` pairs. */
const copied = (files, folder, prefix = '') =>
  JSON.parse(files.paths()).filter((path) => path.startsWith(folder)).map((path) => [prefix + path.slice(folder.length), files.get(path)]);

/** Takes the place where a new run is to be kept. Where there is none, the run says so. */
async function keeperOf(name) {
  if (name === undefined) return {};
  try {
    const keeper = await Keeper.take(name);
    if (keeper.isNew) return { keeper };
    await keeper.close();
  } catch (error) {
    if (error.name === 'ConfigError') throw error;
    return { notKept: `this browser keeps no runs (${error.message}): download it before you leave` };
  }
  // What is kept has data of its own, and would be gone with the first checkpoint of another run.
  throw named('ConfigError', `keep: expected a name that is free, found ${name}, which is kept: Trainer.restore goes on with it, Trainer.forget removes it`);
}

/** Keeps a run as it is. What fails costs the run nothing but that. */
async function keepState(item, step, report) {
  if (!item.keeper) return;
  try {
    await item.keeper.save(step, item.totalSteps, copied(item.files, 'run/', 'run/'), () => copied(item.files, 'data/', 'data/'));
    item.notKept = null;
    report({ event: 'kept', step });
  } catch (error) {
    item.notKept = `step ${step} was not kept in this browser (${error.message}): download the run before you leave`;
    report({ event: 'not-kept', text: item.notKept });
  }
}

export function runMethods({ library, openDevice, keep, need, inTurn, stored }) {
  /** Cuts text into the sequences that a run learns from. */
  async function prepared({ inputs, options }, report, signal) {
    const wgrad = await library();
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
    return { files, summary: JSON.parse(summary) };
  }

  /** The files of a run in memory, from those of its folder; its data among them, or made of `text`. */
  async function adopted({ list, text, options }, report, signal) {
    const wgrad = await library();
    const root = folderOf(list, 'train.json');
    if (root === null) throw named('FileError', 'expected the folder of a training run, found no train.json in it');
    const inside = below(list, root);
    const file = (name) => inside.find(([path]) => path === name)?.[1];
    const newest = newestOf(inside.map(([path]) => path));
    if (!newest) throw named('FileError', 'expected a run with checkpoints/, found none in this folder');
    const recipe = parsed(file('train.json'));
    if (!recipe) throw named('FileError', 'train.json: expected the recipe of a run in JSON, found something else');
    const data = folderOf(list, 'dataset.json');
    let [files, summary, entropy] = [null, null, undefined];
    if (data !== null) {
      const own = below(list, data);
      files = stored(new wgrad.Files(), own, 'data');
      entropy = parsed(own.find(([path]) => path === 'dataset.json')[1])?.unigram_entropy;
    } else {
      const tokenizer = file('tokenizer.json');
      if (!text?.length || !tokenizer) {
        throw named('NoData', `to go on, the run needs text${tokenizer ? '' : ' and its tokenizer.json'}: drop its data folder too, or paste text`);
      }
      ({ files, summary } = await prepared({ inputs: text, options: { ...options, tokenizer, seqLen: recipe.seq_len } }, report, signal));
    }
    stored(files, inside.filter(([path]) => !path.startsWith('data/')), 'run');
    const totalSteps = wgrad.total_steps(files, 'run/train.json');
    // What was done after the newest checkpoint is done once more.
    const done = Number(newest.match(/\d+$/)[0]);
    const metrics = file('metrics.jsonl');
    const rows = (metrics ? rowsOf(metrics) : []).filter(({ step }) => step <= done);
    return { item: { files, begun: true, totalSteps }, recipe, data: summary, ownData: data !== null, rows, entropy, done, totalSteps };
  }

  return {
    /** Begins a run on new text: learns a vocabulary, cuts the text into sequences. */
    async prepare({ inputs, options, kept }, report, signal) {
      const keeping = await keeperOf(kept);
      try {
        const { files, summary } = await prepared({ inputs, options }, report, signal);
        return { handle: keep({ files, begun: false, ...keeping }), data: summary, notKept: keeping.notKept };
      } catch (error) {
        await keeping.keeper?.close();
        throw error;
      }
    },

    /** Takes over a run from the program or from another page: its checkpoints, with its data if they are there. */
    async adopt({ inputs, text, options, kept }, report, signal) {
      const keeping = await keeperOf(kept);
      try {
        const { item, ...told } = await adopted({ list: await readFiles(inputs), text, options }, report, signal);
        const handle = keep({ ...item, ...keeping });
        // From here on it outlives the page.
        await keepState(need(handle), told.done, () => {});
        return { handle, ...told, notKept: need(handle).notKept };
      } catch (error) {
        await keeping.keeper?.close();
        throw error;
      }
    },

    /** Goes on with a run that this browser keeps. */
    async restore({ kept, options }, report, signal) {
      const keeper = await Keeper.take(kept);
      try {
        const { item, ...told } = await adopted({ list: await keeper.files(), text: null, options }, report, signal);
        return { handle: keep({ ...item, keeper }), ...told };
      } catch (error) {
        await keeper.close();
        throw error;
      }
    },

    /** Trains until the end, or until `pause`. */
    async train({ handle, options }, report) {
      const item = need(handle);
      if (item.stop) throw named('ConfigError', 'this run is being trained already');
      const wgrad = await library();
      const gpu = await openDevice(options.device);
      item.stop = new wgrad.Stop();
      if (item.notKept) report({ event: 'not-kept', text: item.notKept });
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
        const summary = JSON.parse(
          await wgrad.pretrain(gpu, item.files, JSON.stringify(settings), item.stop, (text) => {
            const event = JSON.parse(text);
            if (event.event === 'ready') item.totalSteps = event.total_steps;
            if (event.event === 'checkpoint') {
              // From here on there is something to go on with.
              item.begun = true;
              item.checkpoint = event.path;
              keepState(item, event.step, report);
            }
            report(event);
          }),
        );
        // With the model that it leaves.
        await keepState(item, summary.steps, report);
        return summary;
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
        const newest = newestOf(JSON.parse(item.files.paths()).filter((path) => path.startsWith('run/')).map((path) => path.slice(4)));
        if (!newest) throw named('ConfigError', 'there is no checkpoint yet: train a little first');
        item.checkpoint = `run/${newest}`;
      }
      return inTurn(item, async () => {
        if (item.guesser?.of !== item.checkpoint) {
          const of = item.checkpoint;
          const wgrad = await library();
          const model = await wgrad.FillMask.open_checkpoint(await openDevice(), item.files, 'run/train.json', of, 'data');
          item.guesser?.model.free();
          item.guesser = { of, model };
        }
        return JSON.parse(await item.guesser.model.fill(text, topK));
      });
    },

    /** All files of a run: what `wgrad` on a computer opens, with the data to go on. */
    async files({ handle, name, archive }) {
      const { files } = need(handle);
      const list = [...copied(files, 'run/'), ...copied(files, 'data/', 'data/')];
      return archive ? zip(list.map(([path, bytes]) => [`${name}/${path}`, bytes])) : list;
    },
  };
}
