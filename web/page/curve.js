// The live loss curve.

import { perFrame, svg } from './dom.js';

/** A drawing is as wide as its place, so that its letters keep their size. */
const [NARROWEST, WIDEST, HEIGHT] = [240, 900, 270];
const [LEFT, RIGHT, TOP, BOTTOM] = [34, 8, 10, 26];
/** No more points than can be told apart. */
const POINTS = 400;

/** Round numbers, about `count` of them, from `low` to `high`. */
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(high / step + 1e-9) - first + 1) }, (_, i) => +((first + i) * step).toFixed(9));
}

function smoothed(points) {
  let mean = points[0]?.[1];
  return points.map(([x, y], i) => {
    // A mean over a tenth of the points, fewer at the start, so that the line follows from the first step on.
    mean += (y - mean) * Math.max(10 / points.length, 0.06, 1 / (i + 1));
    return [x, mean];
  });
}

/** At most POINTS points, each the mean of its stretch. */
function thinned(points) {
  const stretch = Math.ceil(points.length / POINTS);
  if (stretch <= 1) return points;
  return Array.from({ length: Math.ceil(points.length / stretch) }, (_, i) => {
    const part = points.slice(i * stretch, (i + 1) * stretch);
    const mean = (at) => part.reduce((sum, point) => sum + point[at], 0) / part.length;
    return [mean(0), mean(1)];
  });
}

export class Curve {
  #at;
  #points = [];
  #held = [];
  #known = null;
  #total = 100;
  #ask = perFrame(() => this.#draw());

  constructor(element) {
    this.#at = element;
    new ResizeObserver(this.#ask).observe(element);
    this.#ask();
  }

  clear() {
    [this.#points, this.#held, this.#known] = [[], [], null];
    this.#ask();
  }

  /** The run's length, and the loss of guessing by frequency. */
  plan(total, known) {
    [this.#total, this.#known] = [total, known];
    this.#ask();
  }

  /** Takes back what was drawn after `step`: those steps are done once more. */
  cut(step) {
    this.#points = this.#points.filter(([at]) => at <= step);
    this.#held = this.#held.filter(([at]) => at <= step);
    this.#ask();
  }

  add(row) {
    if (row.step > 0 && Number.isFinite(row.loss)) this.#points.push([row.step, row.loss]);
    if (Number.isFinite(row.held_out_loss ?? NaN)) this.#held.push([row.step, row.held_out_loss]);
    this.#ask();
  }

  #draw() {
    const width = Math.max(NARROWEST, Math.min(WIDEST, Math.round(this.#at.clientWidth)));
    const all = [...this.#points, ...this.#held].map(([, y]) => y).concat(this.#known ?? []);
    const high = all.length ? Math.max(...all) * 1.03 : 8;
    const low = all.length ? Math.max(0, Math.min(...all) - 0.08 * high) : 0;
    const x = (step) => LEFT + ((width - LEFT - RIGHT) * step) / this.#total;
    const y = (loss) => TOP + ((HEIGHT - TOP - BOTTOM) * (high - loss)) / (high - low || 1);
    const line = (points) => points.map(([a, b], i) => `${i ? 'L' : 'M'}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join('');

    // Without points there is nothing to read off the lines, and they would strike through what is said instead.
    const parts = (this.#points.length ? ticks(low, high, 4) : []).flatMap((tick) => [
      svg('line', { class: 'grid-line', x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      svg('text', { x: LEFT - 8, y: y(tick) + 4, 'text-anchor': 'end' }, String(tick)),
    ]);
    for (const tick of ticks(0, this.#total, width < 400 ? 3 : 4).slice(1)) {
      const last = tick === this.#total;
      parts.push(svg('text', { x: x(tick), y: HEIGHT - 6, 'text-anchor': last ? 'end' : 'middle' }, last ? `${tick} steps` : String(tick)));
    }
    if (this.#known !== null) {
      parts.push(
        svg('line', { class: 'known', x1: LEFT, x2: width - RIGHT, y1: y(this.#known), y2: y(this.#known) }),
        // At the left and below, where the curve, which begins high and ends low, does not come.
        svg('text', { class: 'known-label', x: LEFT + 4, y: y(this.#known) + 15 }, 'guessing by word frequency'),
      );
    }
    if (this.#points.length) {
      const points = thinned(this.#points);
      parts.push(svg('path', { class: 'raw', d: line(points) }), svg('path', { class: 'smooth', d: line(smoothed(points)) }));
    } else {
      parts.push(svg('text', { class: 'empty', x: (width + LEFT) / 2, y: HEIGHT / 2, 'text-anchor': 'middle' }, 'the error goes down here, lower is better'));
    }
    for (const [step, loss] of this.#held) {
      parts.push(svg('circle', { class: 'held', cx: x(step), cy: y(loss), r: 3.5 }, svg('title', {}, `on text it has not seen, after ${step} steps: ${loss.toFixed(3)}`)));
    }
    const label = this.#points.length ? `Loss after ${this.#points.at(-1)[0]} steps: ${this.#points.at(-1)[1].toFixed(2)}` : 'Loss, not begun';
    this.#at.replaceChildren(svg('svg', { viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': label }, ...parts));
  }
}
