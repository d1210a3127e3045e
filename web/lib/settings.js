// Settings of a run: what was set is checked, what was not is fitted to the run, so that small texts and short runs work.

import { named } from './errors.js';

/** Warmup, steps and sequences a step of the presets, as in src/train/config.rs. */
const PRESETS = { micro: [100, 1500, 32], tiny: [500, 10_000, 64], small: [2000, 100_000, 128], notebook: [0, Infinity, 32] };

/** A whole number among options, or nothing where there is none. */
export function whole(options, name, least, most) {
  const value = options[name];
  if (value === undefined) return undefined;
  const number = typeof value === 'string' && value.trim() ? Number(value) : value;
  if (Number.isInteger(number) && number >= least && number <= most) return number;
  throw named('ConfigError', `${name}: expected a whole number from ${least} to ${most}, found ${value}`);
}

/** How text becomes data: the settings of the worker's `prepare`. */
export function preparation(options) {
  const { join = true, pack = false, heldOut = 0.05, documents = 'line' } = options;
  if (!['line', 'paragraph'].includes(documents)) throw named('ConfigError', `documents: expected line or paragraph, found ${documents}`);
  if (!(Number.isFinite(heldOut) && heldOut >= 0)) throw named('ConfigError', `heldOut: expected a share below 1 or a number of sequences, found ${heldOut}`);
  return {
    // More words than these are in no text that a page can hold, and their table would not fit its memory.
    vocabulary: whole(options, 'vocabulary', 256, 65_536) ?? 2048,
    seqLen: whole(options, 'seqLen', 10, 4096) ?? 64,
    seed: whole(options, 'seed', 0, Number.MAX_SAFE_INTEGER) ?? 0,
    join: Boolean(join),
    pack: Boolean(pack),
    heldOut: heldOut < 1 ? heldOut : Math.floor(heldOut),
    documents,
  };
}

/** The recipe's assignments: what was set, and for what was not, values that the run has room for. */
export function assignments(options, data) {
  const { preset = 'micro' } = options;
  if (!Object.hasOwn(PRESETS, preset)) throw named('ConfigError', `preset: expected one of ${Object.keys(PRESETS).join(', ')}, found ${preset}`);
  const set = [...(options.set ?? [])].map(String);
  const value = (key) => set.findLast((assignment) => assignment.split('=')[0].trim() === key)?.split('=')[1]?.trim();
  const add = (key, number) => value(key) === undefined && set.push(`${key}=${number}`);
  const [warmup, usual, batch] = PRESETS[preset];
  const steps = whole(options, 'steps', 1, 1e9);
  if (steps) set.push(`steps=${steps}`);
  const total = Number(value('steps') ?? usual);
  if (warmup >= total) add('warmup_steps', Math.floor(total / 10));
  const wanted = whole(options, 'batch', 1, 1e6);
  const sequences = data?.train?.sequences;
  const most = Math.min(wanted ?? batch, sequences || Infinity);
  if (wanted || most < batch) add('batch_sequences', most);
  return set;
}
