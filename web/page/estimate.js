// How long a run still takes, from the steps of it that were done.

/** Steps that are looked back at: enough that measurements and checkpoints between them count, too few to hide that the machine has become slower. */
const WINDOW = 200;
/** The first step compiles shaders, and the next ones may; they are no measure of the others. */
const FIRST = 2;

/** Counts steps by the clock, whatever happens between two of them. */
export class Estimate {
  #times = [];
  #skipped = 0;

  /** Begins anew, after a pause for instance. */
  clear() {
    [this.#times, this.#skipped] = [[], 0];
  }

  /** `step` steps are done now, in milliseconds. */
  add(step, now = performance.now()) {
    if (this.#skipped++ < FIRST) return;
    this.#times.push([step, now]);
    if (this.#times.length > WINDOW) this.#times.shift();
  }

  /** Seconds that a step takes, or null as long as it is not known. */
  get perStep() {
    const [first, last] = [this.#times[0], this.#times.at(-1)];
    // Three steps say little; a fraction of a second says less.
    if (this.#times.length < 4 || last[1] - first[1] < 200) return null;
    return (last[1] - first[1]) / (last[0] - first[0]) / 1000;
  }
}

/** A time in words, no more exact than it is known. */
export function inWords(seconds) {
  if (seconds < 10) return 'a few seconds';
  if (seconds < 55) return `about ${5 * Math.round(seconds / 5)} seconds`;
  if (seconds < 90) return 'about a minute';
  if (seconds < 55 * 60) return `about ${Math.round(seconds / 60)} minutes`;
  if (seconds < 90 * 60) return 'about an hour';
  if (seconds < 36 * 3600) return `about ${Math.round(seconds / 3600)} hours`;
  return `about ${Math.round(seconds / 86_400)} days`;
}
