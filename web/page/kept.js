// The runs that this browser keeps, offered above the training room.

import { Trainer } from '../index.js';
import { $, make, number, say } from './dom.js';

/** Where a run's text came from, by the first part of its name. */
const SOURCES = { 'made-up': 'Made-up English', own: 'Your text', computer: 'A run from elsewhere' };

/** A name for a run that begins now. */
export const nameFor = (source) => `${source} ${Date.now().toString(36)}`;

const time = (saved) => new Date(saved).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });

/** One line: what it is, and what can be done with it. `goOn` is called with its name. */
function line({ name, step, totalSteps, saved, inUse }, goOn) {
  const title = SOURCES[name.split(' ')[0]] ?? name;
  const about = `${number(step)} of ${number(totalSteps)} steps, ${time(saved)}`;
  const button = make('button');
  const remove = make('button', { class: 'quiet' });
  // Who hears the buttons alone hears of which run they are.
  const call = (element, text) => {
    element.textContent = text;
    element.setAttribute('aria-label', `${text}: ${title}, ${about}`);
  };
  call(button, step < totalSteps ? 'Go on' : 'Open');
  call(remove, 'Delete');
  button.addEventListener('click', () => goOn(name));
  remove.addEventListener('click', async () => {
    // What took minutes to learn is not gone by one slip.
    if (remove.textContent === 'Delete') return call(remove, 'Delete for good');
    const at = [...$('kept-runs').children].indexOf(row);
    await Trainer.forget(name).catch((error) => say($('train-status'), error.message, true));
    await showKept(goOn);
    // Its button is gone, so that keys would begin at the top of the page.
    if (document.activeElement === document.body) ($('kept-runs').children[at] ?? $('kept-runs').lastElementChild ?? $('start').parentElement).querySelector('button:enabled')?.focus();
  });
  if (inUse) [button.disabled, remove.disabled] = [true, true];
  const where = inUse ? make('small', {}, 'open in another tab') : '';
  const row = make('li', {}, make('span', {}, make('strong', {}, title), ' ', make('small', {}, about), ' ', where), button, remove);
  return row;
}

/** The rows that are shown, by what they show. */
let shown = new Map();
let later = null;
let newest = 0;

/** Puts rows for `runs` in place of those that are there. Those of runs that are as they were stay, with what was pressed in them. */
function showRows(runs, goOn) {
  const keys = runs.map((run) => JSON.stringify(run));
  if (keys.join() === [...shown.keys()].join()) return;
  const focused = document.activeElement;
  shown = new Map(runs.map((run, at) => [keys[at], shown.get(keys[at]) ?? line(run, goOn)]));
  $('kept-runs').replaceChildren(...shown.values());
  // What is moved loses the focus.
  if ($('kept-runs').contains(focused)) focused.focus();
}

/** Shows what is kept, but for the run `here` that the room has already. */
export async function showKept(goOn, here = null) {
  const mine = (newest += 1);
  clearTimeout(later);
  // Beside a run of the room none is offered, whatever is kept.
  if (here !== null) $('kept').hidden = true;
  const runs = (await Trainer.kept().catch(() => [])).filter(({ name }) => name !== here);
  // Another may have been asked for since, which knows more.
  if (mine !== newest) return;
  $('kept').hidden = here !== null || runs.length === 0;
  showRows(runs, goOn);
  // The page that had it may just have been left.
  if (here === null && runs.some(({ inUse }) => inUse)) later = setTimeout(() => showKept(goOn), 1000);
}
