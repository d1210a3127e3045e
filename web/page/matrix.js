// Similarities as squares, each sentence's beginning beside its row.

import { cosine } from '../index.js';
import { rgb } from './colours.js';
import { make } from './dom.js';

/** More rows than this are too small to point at. */
const MOST = 48;
/** Rows lower than this, in pixels, have no room for their texts. */
const LOWEST = 9;

export class Matrix {
  #at;
  #tell;
  #count = 0;
  #scores = null;
  #canvas = null;
  #cell = [0, 1];

  /** `tell(i, j, score)` is called for the square that is pointed at. */
  constructor(element, tell) {
    [this.#at, this.#tell] = [element, tell];
    new ResizeObserver(() => this.#fit()).observe(element);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#canvas && this.#draw());
  }

  show(lines, rows) {
    const count = (this.#count = Math.min(rows.length, MOST));
    this.#scores = Float32Array.from({ length: count * count }, (_, at) => cosine(rows[Math.floor(at / count)], rows[at % count]));
    const label = `Similarities of ${count} sentences. Arrow keys move.`;
    this.#canvas = make('canvas', { tabindex: '0', role: 'img', 'aria-label': label, 'data-count': count });
    const names = lines.slice(0, count).map((line) => make('span', { title: line, dir: 'auto' }, line));
    this.#at.replaceChildren(make('div', { class: 'names' }, ...names), this.#canvas);
    this.#at.style.setProperty('--n', count);
    this.#fit();
    const point = (event) => {
      const box = this.#canvas.getBoundingClientRect();
      const at = (offset, side) => Math.max(0, Math.min(count - 1, Math.floor((offset / side) * count)));
      this.#point(at(event.clientY - box.top, box.height), at(event.clientX - box.left, box.width));
    };
    this.#canvas.addEventListener('pointermove', point);
    this.#canvas.addEventListener('pointerdown', point);
    this.#canvas.addEventListener('keydown', (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const [i, j] = this.#cell.map((at, axis) => Math.max(0, Math.min(count - 1, at + step[axis])));
      this.#point(i, j);
    });
    this.#cell = [0, Math.min(1, count - 1)];
    this.#draw();
  }

  /** Gives the texts the size of their rows, and takes them away where they could not be read. */
  #fit() {
    if (!this.#canvas) return;
    // What the canvas would be beside its texts, or without them, so that the one does not depend on the other.
    const row = (this.#at.clientWidth * 0.6) / this.#count;
    this.#at.classList.toggle('unlabelled', row < LOWEST);
    this.#at.style.setProperty('--row', `${Math.min(12.8, row * 0.9).toFixed(1)}px`);
  }

  #point(i, j) {
    this.#cell = [i, j];
    this.#draw(true);
    [...this.#at.firstChild.children].forEach((name, at) => name.classList.toggle('on', at === i || at === j));
    this.#tell(i, j, this.#scores[i * this.#count + j]);
  }

  #draw(marked = false) {
    const count = this.#count;
    const size = Math.max(8, Math.floor(960 / count));
    const canvas = this.#canvas;
    canvas.width = canvas.height = count * size;
    const context = canvas.getContext('2d');
    const [ink, paper] = [rgb('--accent'), rgb('--sunken')];
    const gap = Math.max(1, Math.round(size / 16));
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < count; j++) {
        // The square spreads what lies between “somewhat” and “the same”.
        const share = Math.max(0, this.#scores[i * count + j]) ** 1.5;
        context.fillStyle = `rgb(${paper.map((value, channel) => Math.round(value + (ink[channel] - value) * share))})`;
        context.fillRect(j * size, i * size, size - gap, size - gap);
      }
    }
    if (!marked) return;
    const [i, j] = this.#cell;
    context.strokeStyle = `rgb(${rgb('--ink')})`;
    context.lineWidth = 2 * gap;
    context.strokeRect(j * size, i * size, size - gap, size - gap);
  }
}
