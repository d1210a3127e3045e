// One head as lines: on the left who looks, on the right what is looked at.

import { svg } from './dom.js';

const [WIDTH, ROW, TOP] = [340, 24, 20];
const [LEFT, RIGHT] = [118, 222];
/** No more lines than can be told apart, none fainter than this. */
const [LINES, FAINTEST] = [300, 0.03];

const short = (text) => (text.length > 13 ? `${text.slice(0, 12)}…` : text);
const middle = (at) => TOP + at * ROW + ROW / 2;

export class Links {
  #at;
  #events;
  #values = null;
  #side = 0;
  #all = null;
  #one = null;
  #froms = [];
  #tos = [];

  constructor(element, events) {
    [this.#at, this.#events] = [element, events];
  }

  /** Draws a head: `[tokens, tokens]` values, and what the tokens are called. */
  show(values, names, special) {
    [this.#values, this.#side] = [values, names.length];
    const height = TOP + names.length * ROW + 4;
    const label = (x, anchor, name, at, side) => {
      const group = svg('g', { class: `${side}${special[at] ? ' special' : ''}`, 'data-row': at });
      const text = svg('text', { x, y: middle(at) + 4.5, 'text-anchor': anchor }, short(name));
      const share = svg('text', { class: 'share', x: anchor === 'end' ? 2 : WIDTH - 2, y: middle(at) + 4.5, 'text-anchor': anchor === 'end' ? 'start' : 'end' });
      const hit = svg('rect', { x: side === 'from' ? 0 : RIGHT - 4, y: TOP + at * ROW, width: LEFT + 4, height: ROW, rx: 5 });
      group.append(hit, text, share, svg('title', {}, name));
      return group;
    };
    this.#froms = names.map((name, at) => label(LEFT - 6, 'end', name, at, 'from'));
    this.#tos = names.map((name, at) => label(RIGHT + 6, 'start', name, at, 'to'));
    this.#all = svg('g', { class: 'all' }, ...this.#lines([...names.keys()]));
    this.#one = svg('g', { class: 'one' });
    const head = (x, anchor, text) => svg('text', { class: 'head', x, y: 12, 'text-anchor': anchor }, text);
    const drawing = svg('svg', { viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', 'aria-label': 'Lines from each token to those it looks at' });
    drawing.append(this.#all, this.#one, head(LEFT - 6, 'end', 'looks'), head(RIGHT + 6, 'start', 'is looked at'), ...this.#froms, ...this.#tos);
    this.#froms.forEach((group, at) => {
      group.addEventListener('pointerenter', (event) => event.pointerType === 'mouse' && this.#events.preview(at));
      group.addEventListener('click', () => this.#events.pin(at));
    });
    drawing.addEventListener('pointerleave', (event) => event.pointerType === 'mouse' && this.#events.preview(null));
    this.#at.replaceChildren(drawing);
  }

  #lines(rows, faintest = FAINTEST) {
    const found = [];
    for (const i of rows) {
      for (let j = 0; j < this.#side; j++) {
        const share = this.#values[i * this.#side + j];
        if (share >= faintest) found.push([share, i, j]);
      }
    }
    found.sort((a, b) => b[0] - a[0]);
    return found.slice(0, LINES).map(([share, i, j]) =>
      svg('path', {
        d: `M${LEFT} ${middle(i)}C${LEFT + 50} ${middle(i)} ${RIGHT - 50} ${middle(j)} ${RIGHT} ${middle(j)}`,
        'stroke-opacity': Math.sqrt(share).toFixed(2),
        'stroke-width': (0.8 + 3.2 * share).toFixed(1),
      }),
    );
  }

  /** Brings one token's lines to the front. */
  point(at) {
    this.#one.replaceChildren(...this.#lines([at], 0.01));
    this.#froms.forEach((group, i) => group.classList.toggle('on', i === at));
    this.#tos.forEach((group, j) => {
      const share = this.#values[at * this.#side + j];
      group.classList.toggle('on', share >= 0.1);
      group.querySelector('.share').textContent = share >= 0.01 ? `${Math.round(100 * share)}%` : '';
    });
  }
}
