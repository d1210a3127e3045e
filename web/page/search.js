// The room where sentences are found by their meaning.

import { cosine, droppedFiles } from '../index.js';
import { $, make, number, onDrop, say } from './dom.js';
import { Matrix } from './matrix.js';
import { ModelPicker } from './models.js';

/** Four topics of three, side by side, so that their squares stand out in the picture. */
const SENTENCES = `Water the basil every other day, or the plant dries out.
House plants need light and a little water.
Do not water a cactus too often.
The night train to Vienna leaves at ten.
When does the last train to Vienna depart?
Our train was delayed by three hours.
A kitten is napping on the couch.
The cat sleeps on the sofa all day.
Cats spend most of the day asleep.
The bank raised its interest rates again.
Loans get dearer when interest rates go up.
Savers welcome higher interest at the bank.`;
const MATRIX_HINT = 'Each square compares two sentences: the stronger its colour, the closer in meaning. Point at one.';

let picker = null;
let embed = null;
let vectors = null; // { call, lines, rows }
let busy = false;
let again = false;
let matrix = null;

const lines = () => $('sentences').value.split('\n').map((line) => line.trim()).filter(Boolean);

function showAnswers(query) {
  const scored = vectors.rows.map((row, at) => ({ at, score: cosine(query, row) }));
  scored.sort((a, b) => b.score - a.score);
  const items = scored.slice(0, 5).map(({ at, score }) =>
    make('li', {}, make('span', {}, vectors.lines[at]), make('i', { style: `width:${Math.max(0, 100 * score).toFixed(1)}%` }), make('output', {}, score.toFixed(2))),
  );
  $('answers').replaceChildren(...items);
}

async function search() {
  if (!embed) return;
  // What was asked meanwhile is asked once more.
  if (busy) return void (again = true);
  busy = true;
  $('embed').disabled = true;
  const call = embed;
  try {
    const texts = lines();
    if (texts.length === 0) throw new Error('There are no sentences to search: write some, one a line.');
    const began = performance.now();
    const changed = vectors?.call !== call || vectors.lines.join('\n') !== texts.join('\n');
    if (changed) {
      const found = await call(texts, {
        normalize: true,
        progress_callback: ({ done, total }) => say($('embed-status'), `${number(done)} of ${number(total)} sentences`),
      });
      const width = found.dims[1];
      vectors = { call, lines: texts, rows: texts.map((_, i) => found.data.subarray(i * width, (i + 1) * width)) };
    }
    const query = (await call([$('query').value], { normalize: true })).data;
    const seconds = (performance.now() - began) / 1000;
    showAnswers(query);
    if (changed) {
      matrix.show(vectors.lines, vectors.rows);
      say($('matrix-hint'), MATRIX_HINT);
    }
    say($('embed-status'), `${changed ? number(texts.length) + ' sentences and a question' : 'A question'}, ${seconds.toFixed(seconds < 1 ? 2 : 1)} s`);
  } catch (error) {
    if (call === embed) say($('embed-status'), error.message, true);
  } finally {
    busy = false;
    $('embed').disabled = false;
  }
  if (again) {
    again = false;
    await search();
  }
}

export const open = () => picker.open();
export const close = () => picker.close();
export const disable = () => picker.disable('Search needs WebGPU.');

/** Wires the room up. */
export function start() {
  $('sentences').value = SENTENCES;
  matrix = new Matrix($('matrix'), (i, j, score) => {
    $('matrix-hint').replaceChildren(make('strong', {}, score.toFixed(2)), ` “${vectors.lines[i]}” and “${vectors.lines[j]}”`);
  });
  picker = new ModelPicker($('search-model'), 'feature-extraction', async (call) => {
    embed = call;
    $('embed').disabled = false;
    await search();
  });
  $('embed').addEventListener('click', search);
  $('query').addEventListener('keydown', (event) => event.key === 'Enter' && search());
  $('sentences').addEventListener('change', search);
  onDrop($('sentences'), async (transfer) => {
    const files = await droppedFiles(transfer);
    const texts = await Promise.all(files.filter(([path]) => /\.(txt|md|csv|tsv)$/i.test(path)).map(([, file]) => file.text()));
    const dropped = transfer.getData('text');
    if (!texts.length && !dropped) return say($('embed-status'), 'Expected a text file with one sentence a line.', true);
    $('sentences').value = texts.length ? texts.join('\n') : dropped;
    await search();
  });
}
