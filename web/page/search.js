// The room where sentences are found by their meaning.

import { cosine, droppedFiles } from '../index.js';
import * as classes from './classes.js';
import { $, bar, make, nextFrame, number, onDrop, say, textOf } from './dom.js';
import { Matrix } from './matrix.js';
import { ModelPicker } from './models.js';

/** What it begins with: the page's small model finds the bank that gives loans, with no word of the question in it. */
const QUESTIONS = ['where can I get money?', 'which animal is asleep?', 'how can I travel to Vienna?', 'how much water does a plant need?'];
/** Four topics of three, side by side, so that their squares stand out in the picture. */
const SENTENCES = `The bank on the corner gives loans to its customers.
Loans get dearer when interest rates go up.
Savers welcome higher interest at the bank.
Water the basil every other day, or the plant dries out.
House plants need light and a little water.
Do not water a cactus too often.
The night train to Vienna leaves at ten.
When does the last train to Vienna depart?
Our train was three hours late.
A kitten is napping on the couch.
The cat sleeps on the sofa all day.
Cats spend most of the day asleep.`;
/** More sentences than this would keep a small adapter busy for minutes. */
const MOST = 5000;
const MATRIX_HINT = 'Each square compares two sentences: the stronger its colour, the closer in meaning. Point at one.';

let picker = null;
let embed = null;
/** The vectors of sentences by their text, as `call` made them: only new sentences are embedded. */
let kept = { call: null, rows: new Map() };
let lines = [];
let running = null;
let matrix = null;

/** The sentences, one a line, and how many there are beyond MOST. Megabytes take more than one task. */
async function sentences() {
  const text = $('sentences').value;
  const found = [];
  let [left, began] = [0, performance.now()];
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf('\n', at) < 0 ? text.length : text.indexOf('\n', at);
    const line = text.slice(at, Math.min(end, at + 4000)).trim();
    if (line && found.length < MOST) found.push(line);
    else if (line) left += 1;
    at = end + 1;
    if (performance.now() - began > 8) {
      await nextFrame();
      began = performance.now();
    }
  }
  return { found, left };
}

function showAnswers(query) {
  const scored = lines.map((line) => ({ line, score: cosine(query, kept.rows.get(line)) }));
  scored.sort((a, b) => b.score - a.score);
  const items = scored.slice(0, 5).map(({ line, score }) =>
    make('li', {}, make('span', { dir: 'auto' }, line), bar(Math.max(0, score)), make('output', {}, score.toFixed(2))),
  );
  $('answers').replaceChildren(...items);
}

/** Embeds the sentences that are new to this model. Gives back how many those were. */
async function embedNew(call, texts, signal) {
  if (kept.call !== call) kept = { call, rows: new Map() };
  const { rows } = kept;
  const fresh = [...new Set(texts)].filter((text) => !rows.has(text));
  if (fresh.length) {
    const found = await call(fresh, {
      normalize: true,
      signal,
      progress_callback: ({ done, total }) => say($('embed-status'), `${number(done)} of ${number(total)} sentences`),
    });
    const width = found.dims[1];
    fresh.forEach((text, i) => rows.set(text, found.data.subarray(i * width, (i + 1) * width)));
  }
  // What is no longer asked about need not be kept, unless it is little.
  if (rows.size > 2 * MOST) {
    const asked = new Set(texts);
    for (const text of rows.keys()) if (!asked.has(text)) rows.delete(text);
  }
  return fresh.length;
}

/** Searches. What runs already is given up: it was asked of another text or another model. */
async function search() {
  if (!embed) return;
  running?.abort();
  const mine = (running = new AbortController());
  const { signal } = mine;
  const call = embed;
  try {
    const { found: texts, left } = await sentences();
    if (signal.aborted) return;
    if (texts.length === 0) throw new Error('There are no sentences to search: write some, one a line.');
    const began = performance.now();
    const changed = kept.call !== call || texts.length !== lines.length || texts.some((text, i) => text !== lines[i]);
    const fresh = await embedNew(call, texts, signal);
    const query = (await call([$('query').value], { normalize: true, signal })).data;
    if (signal.aborted) return;
    const seconds = (performance.now() - began) / 1000;
    lines = texts;
    showAnswers(query);
    if (changed) {
      matrix.show(lines, lines.map((line) => kept.rows.get(line)));
      say($('matrix-hint'), MATRIX_HINT);
    }
    const what = fresh ? `${number(fresh)} sentences and a question` : 'A question';
    const more = left ? ` The first ${number(MOST)} of ${number(MOST + left)} sentences are searched.` : '';
    say($('embed-status'), `${what}, ${seconds.toFixed(seconds < 1 ? 2 : 1)} s.${more}`);
  } catch (error) {
    if (!signal.aborted) say($('embed-status'), error.message, true);
  }
}

export const open = () => picker.open();
export const close = () => picker.close();
export function disable() {
  picker.disable('Search needs WebGPU.');
  $('questions').hidden = true;
}

/** Wires the room up. */
export function start() {
  $('query').value = QUESTIONS[0];
  $('sentences').value = SENTENCES;
  $('questions').append(
    ...QUESTIONS.slice(1).map((text) => {
      const chip = make('button', { class: 'chip' }, text);
      chip.addEventListener('click', () => {
        $('query').value = text;
        search();
      });
      return chip;
    }),
  );
  matrix = new Matrix($('matrix'), (i, j, score) => {
    $('matrix-hint').replaceChildren(make('strong', {}, score.toFixed(2)), ` “${lines[i]}” and “${lines[j]}”`);
  });
  classes.start();
  picker = new ModelPicker($('search-model'), 'feature-extraction', async (call) => {
    embed = call;
    $('embed').disabled = false;
    classes.showClasses(call);
    await search();
  });
  $('embed').addEventListener('click', search);
  $('query').addEventListener('keydown', (event) => event.key === 'Enter' && search());
  $('sentences').addEventListener('change', search);
  onDrop($('sentences'), async (transfer) => {
    $('sentences').value = await textOf(await droppedFiles(transfer), ['txt', 'md', 'csv', 'tsv']);
    await search();
  }, (error) => say($('embed-status'), error.message, true));
}
