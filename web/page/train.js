// The room where a model learns.

import { Trainer, chosenFiles, droppedFiles, generateText } from '../index.js';
import { Curve } from './curve.js';
import { $, bar, make, number, offer, onDrop, perFrame, say, textOf } from './dom.js';
import { Estimate, inWords } from './estimate.js';
import { nameFor, showKept } from './kept.js';

const WORDS = 62; // with [CLS] and [SEP] a document fills a sequence of 64
const MADE_UP = { vocabulary: 1024, seqLen: 64, join: false, documents: 'line' };
const OWN = { vocabulary: 2048, seqLen: 64, join: true, documents: 'line' };
const NAME = 'wgrad-run';
const AGAIN = 'New run';

let trainer = null;
let curve = null;
let madeUp = '';
let ownText = '';
let lastRow = null;
let busy = false;
let guessing = false;
let wanted = false;
/** The name under which the run is kept here. */
let keptAs = null;
/** Steps done, steps of which the person has a copy, and steps in all; null where there is no run. */
let [done, copied, total] = [0, 0, null];
const estimate = new Estimate();

const source = () => document.querySelector('input[name=source]:checked').value;

/** Whether what was learned is nowhere but in this page. */
const isOnlyHere = () => Boolean(trainer?.notKept) && done > copied;

/** Says that the run is not kept, as long as it is not. Warnings have a line of their own. */
const showNotKept = () => say($('not-kept'), trainer?.notKept ? `${trainer.notKept}.` : '', true);

/** The recipe of a run in a page: small steps, often looked at. */
function recipe(steps) {
  const every = Math.max(10, Math.round(steps / 8));
  return [
    'micro_batch=16',
    'schedule=trapezoid',
    `warmup_steps=${Math.min(40, Math.floor(steps / 10))}`,
    `evaluate.every=${every}`,
    'evaluate.sequences=64',
    'checkpoint.every=20',
    'checkpoint.keep=1',
  ];
}

async function showText() {
  const own = source() === 'own';
  const area = $('text');
  area.readOnly = !own;
  area.placeholder = 'Paste a few pages of any text, or drop .txt, .csv and .jsonl files here.';
  if (own) {
    area.value = ownText;
  } else {
    // What keeps the worker from starting is told above the rooms.
    if (!madeUp) madeUp = await generateText({ words: WORDS, documents: 4000 }).catch(() => '');
    area.value = madeUp.slice(0, 1600);
  }
  countWords();
}

function countWords() {
  const own = source() === 'own';
  const text = own ? ownText : madeUp;
  const words = text ? text.length / 5.2 : 0;
  say(
    $('text-hint'),
    own
      ? words ? `About ${number(words)} words. A few thousand are enough to see it learn; more are better.` : 'It learns whatever you paste: letters, a book, code, another language.'
      : `${number(words)} words of a tiny made-up English, so that learning shows after a hundred steps.`,
  );
}

/** The steps that are asked for: a whole number that a run can have. One from elsewhere may be as long or short as it is. */
function asked() {
  const [least, most] = total === null ? [20, 20_000] : [1, Math.max(20_000, total)];
  return Math.max(least, Math.min(most, Math.round($('steps').valueAsNumber) || (total ?? 400)));
}

function controls() {
  const begun = trainer !== null;
  const running = begun && trainer.training;
  $('start').hidden = running;
  $('start').textContent = begun ? 'Go on' : 'Start training';
  // A run that has come to its end goes on when it is given more steps.
  $('start').disabled = busy || (begun && done >= asked());
  $('pause').hidden = !running;
  $('again').hidden = !begun || running;
  $('again').textContent = AGAIN;
  for (const id of ['download', 'save-folder']) $(id).disabled = !begun || busy || !done;
  $('steps').disabled = running;
  for (const input of document.querySelectorAll('input[name=source]')) input.disabled = begun;
  $('room-train').dataset.state = running ? 'running' : begun ? 'paused' : 'new';
}

/** How long it still takes, once steps have told. */
function showTime() {
  const [left, seconds] = [(total ?? asked()) - done, estimate.perStep];
  const running = trainer?.training;
  let text = '';
  if (running && total !== null && left > 0) text = seconds ? `It takes ${inWords(left * seconds)} more.` : 'The first steps will tell how long it takes.';
  else if (!running && seconds && (trainer === null || asked() > done)) text = `${number(asked() - done)} steps take ${inWords((asked() - done) * seconds)}.`;
  // It is the same for many steps.
  if ($('train-time').textContent !== text) say($('train-time'), text);
}

const showNumbers = perFrame(() => {
  const row = lastRow;
  $('n-step').textContent = row ? number(row.step) : '–';
  $('n-loss').textContent = row?.loss ? row.loss.toFixed(2) : '–';
  $('n-right').textContent = row?.accuracy != null ? `${Math.round(100 * row.accuracy)}%` : '–';
  $('n-speed').textContent = row?.tokens_per_second ? number(row.tokens_per_second) : '–';
});

/** Guesses the masks of the sentence; asked while it does, it does so once more, as the sentence may be another by then. */
async function guess() {
  wanted = true;
  if (guessing) return;
  guessing = true;
  while (wanted && trainer) {
    wanted = false;
    await guessOnce();
  }
  guessing = false;
}

async function guessOnce() {
  const text = $('mask-text').value;
  if (!text.includes('[MASK]')) {
    emptyBars();
    say($('guess-hint'), 'Write [MASK] where a word is to be guessed.');
    return;
  }
  try {
    const filled = await trainer.fillMask(text, { top_k: 5 });
    // It may have been changed meanwhile.
    if (text !== $('mask-text').value) return;
    const bars = filled.masks[0].candidates.map(({ text: word, probability }) =>
      make('div', { class: 'bar' }, make('span', { class: 'word' }, word || '␣'), bar(probability), make('output', {}, `${Math.round(100 * probability)}%`)),
    );
    $('guesses').replaceChildren(...bars);
    say($('guess-hint'), `After ${number(done)} steps. Change the sentence and ask again.`);
  } catch (error) {
    if (!/no checkpoint yet/.test(error.message)) say($('guess-hint'), error.message, true);
  }
}

function emptyBars() {
  $('guesses').replaceChildren(...Array.from({ length: 4 }, () => make('div', { class: 'empty' })));
}

function listen() {
  trainer.addEventListener('ready', ({ detail }) => {
    // It may begin before where it was: what was done after its newest checkpoint is done once more.
    curve.cut(detail.step);
    curve.plan(detail.total_steps, detail.unigram_entropy);
    [done, total] = [detail.step, detail.total_steps];
    $('steps').value = total;
    estimate.clear();
    showTime();
    const software = document.body.dataset.device === 'software';
    const where = software ? `${detail.device || 'a software adapter'}: your processor, no graphics card, so it is slow` : detail.device || 'your graphics card';
    say($('train-status'), `${number(detail.parameters)} numbers to learn, on ${where}.`);
  });
  trainer.addEventListener('step', ({ detail: { row } }) => {
    curve.add(row);
    if (row.step > 0) {
      [lastRow, done] = [row, row.step];
      estimate.add(row.step);
      showTime();
    }
    showNumbers();
  });
  trainer.addEventListener('checkpoint', guess);
  trainer.addEventListener('warning', ({ detail }) => say($('train-note'), detail.text));
  for (const event of ['kept', 'not-kept']) trainer.addEventListener(event, showNotKept);
  trainer.addEventListener('device-lost', () => say($('train-status'), 'The graphics device was lost; it is opened again and the run goes on from its last checkpoint.'));
}

async function train() {
  controls();
  say($('train-note'), '');
  const steps = total !== null && asked() !== total ? asked() : undefined;
  const running = trainer.train({ steps });
  controls();
  try {
    const summary = await running;
    const held = summary.held_out_loss ? ` On text it has not seen its loss is ${summary.held_out_loss.toFixed(2)}.` : '';
    say($('train-status'), summary.interrupted ? `Paused after ${number(summary.steps)} steps.` : `Done: ${number(summary.steps)} steps in ${Math.round(summary.seconds)} s.${held}`);
    await guess();
  } catch (error) {
    say($('train-status'), error.message, true);
    if (['WorkerEnded', 'Crashed', 'Unloaded'].includes(error.name)) lost();
  }
  showTime();
  controls();
}

/** The worker took the run with it. What was kept of it is offered. */
function lost() {
  [trainer, keptAs, done, copied, total] = [null, null, 0, 0, null];
  showNotKept();
  showKept(restore);
}

/** Runs `work` with the controls locked, and shows what goes wrong. */
async function guarded(work) {
  if (busy) return;
  busy = true;
  controls();
  try {
    await work();
  } catch (error) {
    say($('train-status'), error.message, true);
  } finally {
    busy = false;
    controls();
  }
}

async function startRun() {
  if (trainer) return train();
  await guarded(async () => {
    const own = source() === 'own';
    const text = own ? ownText : madeUp;
    if (!text.trim()) throw new Error('There is no text yet: paste some, or choose the made-up English.');
    say($('train-status'), 'Learning a vocabulary and cutting the text into sequences …');
    const steps = asked();
    $('steps').value = steps;
    const keep = nameFor(own ? 'own' : 'made-up');
    const options = { ...(own ? OWN : MADE_UP), heldOut: own ? 0.05 : 64, steps, batch: 16, set: recipe(steps), aboutData: own ? 'text pasted into the page' : 'generated text', keep };
    trainer = await Trainer.create(text, options);
    keptAs = keep;
    if (own) proposeHole(text);
    listen();
    showNotKept();
    showKept(restore, keptAs);
  });
  if (trainer) await train();
}

/** A sentence of the user's own text with a hole in it. */
function proposeHole(text) {
  const words = text.slice(0, 400).trim().split(/\s+/).slice(0, 9);
  if (words.length < 4) return;
  words[Math.floor(words.length / 2)] = '[MASK]';
  $('mask-text').value = words.join(' ');
}

/** Puts the run aside: it stays kept in this browser, and what it holds of the device is given back. */
async function reset() {
  const old = trainer;
  [trainer, keptAs, lastRow, done, copied, total] = [null, null, null, 0, 0, null];
  showNotKept();
  curve.clear();
  curve.plan(asked(), null);
  emptyBars();
  showNumbers();
  showTime();
  say($('train-status'), 'Press Start training. It runs here, on this machine.');
  say($('train-note'), '');
  controls();
  await old?.dispose().catch(() => {});
  await showKept(restore);
}

/** Takes over the run that `take` gives, kept under `name`, and shows what it has learned as if it had been learned here. */
async function takeOver(name, take) {
  if (trainer?.training) await trainer.pause();
  if (isOnlyHere()) {
    return say($('train-status'), 'The run that is here is kept nowhere else: download it, or press New run, before another is opened.', true);
  }
  if (trainer) await reset();
  await guarded(async () => {
    say($('train-status'), 'Opening the run …');
    trainer = await take();
    keptAs = name;
    listen();
    curve.clear();
    // It came from a folder, or from what is kept.
    [done, copied, total] = [trainer.done, trainer.done, trainer.totalSteps];
    showNotKept();
    $('steps').value = total;
    $('steps').max = Math.max(20_000, total);
    curve.plan(total, trainer.unigramEntropy);
    trainer.rows.forEach((row) => curve.add(row));
    lastRow = trainer.rows.filter(({ step }) => step > 0).at(-1) ?? null;
    showNumbers();
    await guess();
    const over = done >= total;
    say($('train-status'), `The run is loaded, ${number(done)} of ${number(total)} steps long. ${over ? 'It has come to its end: ask it something, download it, or give it more steps.' : 'Press Go on.'}`);
    await showKept(restore, keptAs);
  });
}

const set = ['checkpoint.every=20'];

/** Goes on with a run from elsewhere. */
async function adopt(files) {
  const text = source() === 'own' ? ownText : madeUp;
  const keep = nameFor('computer');
  await takeOver(keep, () => Trainer.resume(files, { text, set, keep }));
}

/** Goes on with a run that this browser keeps. */
const restore = (name) => takeOver(name, () => Trainer.restore(name, { set }));

async function saveFolder() {
  const root = await window.showDirectoryPicker({ mode: 'readwrite' });
  const folder = await root.getDirectoryHandle(NAME, { create: true });
  for (const [path, bytes] of await trainer.files()) {
    let at = folder;
    const parts = path.split('/');
    const name = parts.pop();
    for (const part of parts) at = await at.getDirectoryHandle(part, { create: true });
    const file = await (await at.getFileHandle(name, { create: true })).createWritable();
    await file.write(bytes);
    await file.close();
  }
  copied = done;
  say($('train-status'), `Saved as ${root.name}/${NAME}.`);
}

/** Before the files are taken, a run that goes on is paused: they are those of one moment. */
async function settled(work) {
  const running = trainer.training;
  if (running) await trainer.pause();
  await guarded(work);
  if (running) train();
}

/** Nothing is fetched for this room. What is kept may have changed in another tab. */
export const open = () => {
  showKept(restore, keptAs);
};
export const close = () => {};

export function disable() {
  for (const id of ['start', 'steps', 'drop-input']) $(id).disabled = true;
  say($('train-status'), 'Training needs WebGPU.', true);
}

/** Wires the room up. */
export function start() {
  curve = new Curve($('curve'));
  curve.plan(asked(), null);
  emptyBars();
  for (const input of document.querySelectorAll('input[name=source]')) input.addEventListener('change', showText);
  $('text').addEventListener('input', () => {
    ownText = $('text').value;
    countWords();
  });
  onDrop($('text'), async (transfer) => {
    ownText = await textOf(await droppedFiles(transfer), ['txt', 'md', 'csv', 'tsv', 'jsonl']);
    document.querySelector('input[name=source][value=own]').checked = true;
    showText();
  }, (error) => say($('text-hint'), error.message, true));
  $('start').addEventListener('click', startRun);
  $('pause').addEventListener('click', () => trainer?.pause());
  $('again').addEventListener('click', () => {
    // What is nowhere else is not gone by one slip.
    if (isOnlyHere() && $('again').textContent === AGAIN) return void ($('again').textContent = 'Discard this run');
    return reset();
  });
  $('mask-text').addEventListener('change', guess);
  $('mask-text').addEventListener('input', () => {
    // What was guessed of another sentence is no guess of this one.
    emptyBars();
    if (trainer) say($('guess-hint'), 'Press Enter to guess.');
  });
  $('download').addEventListener('click', () => settled(async () => {
    offer(await trainer.zip(NAME), `${NAME}.zip`);
    copied = done;
  }));
  $('save-folder').hidden = !('showDirectoryPicker' in window);
  $('save-folder').addEventListener('click', () => settled(saveFolder));
  onDrop($('drop'), async (transfer) => adopt(await droppedFiles(transfer)), (error) => say($('train-status'), error.message, true));
  $('steps').addEventListener('input', () => {
    if (!trainer) curve.plan(asked(), null);
    showTime();
    controls();
  });
  // What was learned since the newest checkpoint would be lost, and the rest would have to be gone on with.
  addEventListener('beforeunload', (event) => {
    if (trainer?.training || isOnlyHere()) event.preventDefault();
  });
  $('drop-input').addEventListener('change', async ({ target }) => {
    const files = chosenFiles(target);
    // The same files can be chosen again.
    target.value = '';
    await adopt(files);
  });
  showText();
  controls();
}
