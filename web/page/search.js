// The room where sentences are found by their meaning.

import { chosenFiles, cosine, droppedFiles, pipeline } from '../index.js';
import { $, make, number, onDrop, say } from './dom.js';

const MINILM = 'https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main/';
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

let embed = null;
let vectors = null; // { lines, rows }
let busy = false;

const lines = () => $('sentences').value.split('\n').map((line) => line.trim()).filter(Boolean);

/** Progress bars, one a file. */
function progress(event) {
  if (!event.file || event.missing) return document.getElementById(`download-${event.file}`)?.remove();
  let row = document.getElementById(`download-${event.file}`);
  if (!row) {
    row = make('div', { class: 'download', id: `download-${event.file}` }, make('span', {}, event.file), make('progress', { max: '100', value: '0' }), make('output'));
    $('downloads').append(row);
  }
  const [, bar, text] = row.children;
  if (event.status === 'progress') {
    bar.value = event.progress;
    text.textContent = `${(event.loaded / 1e6).toFixed(1)} MB`;
  }
  if (event.status === 'done') {
    bar.value = 100;
    if (event.cached) text.textContent = 'kept';
  }
  if (event.status === 'warning') say($('model-status'), event.message);
}

async function load(model, name) {
  if (busy) return;
  busy = true;
  $('load-model').disabled = true;
  $('downloads').replaceChildren();
  say($('model-status'), 'Loading …');
  try {
    const fresh = await pipeline('feature-extraction', model, { progress_callback: progress });
    await embed?.dispose().catch(() => {});
    embed = fresh;
    vectors = null;
    $('model-name').textContent = name;
    $('model-card').dataset.state = 'ready';
    $('downloads').replaceChildren();
    say($('model-status'), '');
    $('embed').disabled = false;
    busy = false;
    await search();
  } catch (error) {
    say($('model-status'), error.message, true);
  } finally {
    busy = false;
    $('load-model').disabled = false;
  }
}

function showAnswers(query) {
  const scored = vectors.rows.map((row, at) => ({ at, score: cosine(query, row) }));
  scored.sort((a, b) => b.score - a.score);
  const items = scored.slice(0, 5).map(({ at, score }) =>
    make('li', {}, make('span', {}, vectors.lines[at]), make('i', { style: `width:${Math.max(0, 100 * score).toFixed(1)}%` }), make('output', {}, score.toFixed(2))),
  );
  $('answers').replaceChildren(...items);
}

/** Cosines as squares; hovering or tapping one names its two sentences. */
function showMatrix() {
  const { rows, lines } = vectors;
  const count = Math.min(rows.length, 48);
  const grid = make('div', { class: 'cells', style: `--n:${count}`, role: 'img', 'aria-label': `Similarities of ${count} sentences` });
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) {
      const score = cosine(rows[i], rows[j]);
      const cell = make('i', { style: `--v:${Math.max(0, Math.min(1, score)).toFixed(3)}`, 'data-i': i, 'data-j': j, 'data-score': score.toFixed(2) });
      grid.append(cell);
    }
  }
  const tell = ({ target }) => {
    const { i, j, score } = target.dataset;
    if (i === undefined) return;
    $('matrix-hint').replaceChildren(make('strong', {}, score), ` “${lines[i]}” and “${lines[j]}”`);
  };
  grid.addEventListener('pointerover', tell);
  grid.addEventListener('click', tell);
  $('matrix').replaceChildren(grid);
}

async function search() {
  if (!embed || busy) return;
  busy = true;
  $('embed').disabled = true;
  try {
    const texts = lines();
    if (texts.length === 0) throw new Error('There are no sentences to search: write some, one a line.');
    const began = performance.now();
    const changed = vectors?.lines.join('\n') !== texts.join('\n');
    if (changed) {
      const found = await embed(texts, {
        normalize: true,
        progress_callback: ({ done, total }) => say($('embed-status'), `${number(done)} of ${number(total)} sentences`),
      });
      vectors = { lines: texts, rows: texts.map((_, i) => found.data.subarray(i * found.dims[1], (i + 1) * found.dims[1])) };
    }
    const query = (await embed([$('query').value], { normalize: true })).data;
    const seconds = (performance.now() - began) / 1000;
    showAnswers(query);
    if (changed) showMatrix();
    say($('embed-status'), `${number(texts.length)} sentences, ${seconds.toFixed(seconds < 1 ? 2 : 1)} s`);
  } catch (error) {
    say($('embed-status'), error.message, true);
  } finally {
    busy = false;
    $('embed').disabled = !embed;
  }
}

/** Without WebGPU nothing here works. */
export function disable() {
  for (const id of ['load-model', 'model-url', 'model-input']) $(id).disabled = true;
  say($('model-status'), 'Search needs WebGPU.', true);
}

/** Wires the room up. */
export function start() {
  $('sentences').value = SENTENCES;
  const fromUrl = () => load($('model-url').value.trim() || MINILM, $('model-url').value.trim() || 'all-MiniLM-L6-v2');
  $('load-model').addEventListener('click', fromUrl);
  $('model-url').addEventListener('input', () => {
    $('load-model').firstChild.textContent = $('model-url').value ? 'Load ' : 'Load all-MiniLM-L6-v2 ';
    $('load-model').querySelector('small').hidden = Boolean($('model-url').value);
  });
  $('model-url').addEventListener('keydown', (event) => event.key === 'Enter' && fromUrl());
  const files = (list) => load(list, list[0]?.[0].split('/')[0] || 'dropped model');
  onDrop($('model-drop'), async (transfer) => files(await droppedFiles(transfer)));
  $('model-input').addEventListener('change', ({ target }) => files(chosenFiles(target)));
  $('embed').addEventListener('click', search);
  $('query').addEventListener('keydown', (event) => event.key === 'Enter' && search());
  const asked = new URLSearchParams(location.search).get('model');
  if (asked) {
    $('model-url').value = new URL(asked, location.href).href;
    $('model-url').dispatchEvent(new Event('input'));
  }
}
