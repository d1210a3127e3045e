// The room where one looks into a model: all heads as small maps, one head as a text that is read by pointing.

import { $, direction, make, nextFrame, say } from './dom.js';
import { found } from './finding.js';
import { Links } from './links.js';
import { ModelPicker } from './models.js';
import { rgb } from './colours.js';

const EXAMPLES = [
  'The nurse gave the patient a medicine for the pain.',
  'The cat slept on the sofa because it was tired.',
  'She gave him the book that her sister had written.',
];
/** A small map has at most this many squares a side; each is the largest of what it stands for. */
const SIDE = 40;

let picker = null;
let look = null;
let map = null;
let busy = false;
let again = false;
let chosen = { layer: 0, head: 0 };
let pinned = 0;
let links = null;

const shown = (token) => (token.special ? token.label : token.text || token.label).replace(/\s/g, '↵');
const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)}%`;

/** Draws one head as a map of at most SIDE squares a side, the accent's colour on nothing. */
function drawMap(canvas, values, side, [red, green, blue]) {
  const bin = Math.ceil(side / SIDE);
  const count = Math.ceil(side / bin);
  const pixels = new ImageData(count, count);
  for (let i = 0; i < side; i++) {
    for (let j = 0; j < side; j++) {
      const at = 4 * (Math.floor(i / bin) * count + Math.floor(j / bin));
      // The square root lets small shares be seen.
      const alpha = Math.round(255 * Math.sqrt(Math.min(1, values[i * side + j])));
      if (alpha > pixels.data[at + 3]) pixels.data.set([red, green, blue, alpha], at);
    }
  }
  canvas.width = canvas.height = count;
  canvas.getContext('2d').putImageData(pixels, 0, 0);
}

const cells = () => [...$('heads').querySelectorAll('button')];

async function drawMaps() {
  const drawing = map;
  const ink = rgb('--accent');
  let began = performance.now();
  for (const cell of cells()) {
    if (map !== drawing) return;
    const { layer, head } = cell.dataset;
    drawMap(cell.firstChild, drawing.head(+layer, +head).data, drawing.tokens.length, ink);
    // Twelve times twelve heads of a long text are more than a frame's work.
    if (performance.now() - began > 8) {
      await nextFrame();
      began = performance.now();
    }
  }
}

/** The grid: a row for each layer, a column for each head. */
function showGrid() {
  const { layers, heads } = map;
  const grid = $('heads');
  grid.style.setProperty('--heads', heads);
  const rows = [make('span', {}), ...Array.from({ length: heads }, (_, head) => make('span', {}, String(head + 1)))];
  for (let layer = 0; layer < layers; layer++) {
    rows.push(make('span', { class: 'layer' }, String(layer + 1)));
    for (let head = 0; head < heads; head++) {
      const cell = make('button', { 'data-layer': layer, 'data-head': head, 'aria-label': `Layer ${layer + 1}, head ${head + 1}`, tabindex: '-1' }, make('canvas', { width: 1, height: 1 }));
      rows.push(cell);
    }
  }
  grid.replaceChildren(...rows);
  drawMaps();
}

function showHead(layer, head) {
  chosen = { layer, head };
  for (const cell of cells()) {
    const on = +cell.dataset.layer === layer && +cell.dataset.head === head;
    cell.setAttribute('aria-pressed', String(on));
    cell.tabIndex = on ? 0 : -1;
  }
  $('head-name').textContent = `Layer ${layer + 1}, head ${head + 1}`;
  links.show(map.head(layer, head).data, map.tokens.map(shown), map.tokens.map(({ special }) => special));
  point(pinned);
}

/** Reads out where one token looks. */
function point(at) {
  const side = map.tokens.length;
  const row = map.head(chosen.layer, chosen.head).data.subarray(at * side, (at + 1) * side);
  const most = Math.max(...row);
  [...$('reading').children].forEach((word, j) => {
    // Between these two no ink can be read on the colour, neither dark nor light.
    const [share, strong] = [row[j] / most, row[j] / most > 0.4];
    word.style.setProperty('--v', (strong ? 0.96 + 0.04 * share : 0.7 * Math.sqrt(share)).toFixed(3));
    word.classList.toggle('strong', strong);
    word.setAttribute('aria-pressed', String(j === at));
    word.tabIndex = j === at ? 0 : -1;
    // Small ones would only crowd the line.
    word.classList.toggle('told', row[j] >= 0.05);
    word.dataset.share = row[j] >= 0.01 ? percent(row[j]) : '';
  });
  links.point(at);
  const best = row.indexOf(most);
  const name = (at) => (map.tokens[at].special ? map.tokens[at].label : `“${shown(map.tokens[at])}”`);
  const whom = best === at ? 'itself' : name(best);
  $('reading-hint').replaceChildren(make('b', { class: 'from' }, name(at)), ' looks most at ', make('b', {}, whom), `: ${percent(row[best])} of its attention in this head.`);
}

function pin(at) {
  pinned = at;
  point(at);
}

function showText() {
  const words = map.tokens.map((token, at) => make('button', { class: `${token.special ? 'special' : ''} ${token.space_before || token.special || map.tokens[at - 1]?.special ? 'apart' : ''}`, 'data-at': at }, shown(token)));
  $('reading').dir = direction(map.tokens.filter(({ special }) => !special).map(({ text }) => text).join(''));
  $('reading').replaceChildren(...words);
}

async function read() {
  if (!look) return;
  if (busy) return void (again = true);
  const text = $('look-text').value.trim();
  if (!text) return say($('look-status'), 'Write a sentence to look at.');
  busy = true;
  say($('look-status'), 'Reading …');
  try {
    const fresh = await look(text);
    const same = map && map.layers === fresh.layers && map.heads === fresh.heads;
    map = fresh;
    const best = found(map);
    pinned = best.from;
    $('room-look').dataset.state = 'ready';
    showText();
    showGrid();
    if (same && $('look-text').dataset.read === text) showHead(chosen.layer, chosen.head);
    else showHead(best.layer, best.head);
    $('look-text').dataset.read = text;
    say($('look-status'), map.truncated ? `The text was too long for the model: ${map.truncated} tokens were cut off.` : '');
  } catch (error) {
    say($('look-status'), error.message, true);
  } finally {
    busy = false;
  }
  if (again) {
    again = false;
    read();
  }
}

/** Arrow keys move among `items()`, `across` of them to a row. */
function keys(element, items, across, take) {
  element.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across(), ArrowDown: across() }[event.key];
    const list = items();
    const at = list.indexOf(event.target.closest('button'));
    if (!step || at < 0) return;
    event.preventDefault();
    const next = list[at + step];
    if (!next) return;
    take(next);
    next.focus();
  });
}

const word = (event) => event.target.closest?.('[data-at]');
const takeHead = (cell) => showHead(+cell.dataset.layer, +cell.dataset.head);

export const open = () => picker.open();
export const close = () => picker.close();
export function disable() {
  picker.disable('Looking inside needs WebGPU.');
  $('look-go').disabled = true;
  $('look-examples').hidden = true;
}

/** Wires the room up. */
export function start() {
  $('look-text').value = EXAMPLES[0];
  $('look-examples').append(
    ...EXAMPLES.slice(1).map((text) => {
      const chip = make('button', { class: 'chip' }, text);
      chip.addEventListener('click', () => {
        $('look-text').value = text;
        read();
      });
      return chip;
    }),
  );
  links = new Links($('links'), { pin, preview: (at) => point(at ?? pinned) });
  picker = new ModelPicker($('look-model'), 'attention', async (call) => {
    look = call;
    await read();
  });
  $('look-go').addEventListener('click', read);
  $('look-text').addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey) return;
    event.preventDefault();
    read();
  });
  $('heads').addEventListener('click', (event) => {
    const cell = event.target.closest('button');
    if (cell) takeHead(cell);
  });
  keys($('heads'), cells, () => map.heads, takeHead);

  const text = $('reading');
  text.addEventListener('click', (event) => word(event) && pin(+word(event).dataset.at));
  // A finger pins; a mouse looks in passing and leaves things as they were.
  text.addEventListener('pointerover', (event) => event.pointerType === 'mouse' && word(event) && point(+word(event).dataset.at));
  text.addEventListener('pointerleave', (event) => event.pointerType === 'mouse' && map && point(pinned));
  keys(text, () => [...text.children], () => 1, (button) => pin(+button.dataset.at));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => map && drawMaps());
}
