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
  const button = make('button', {}, step < totalSteps ? 'Go on' : 'Open');
  button.addEventListener('click', () => goOn(name));
  const remove = make('button', { class: 'quiet' }, 'Delete');
  remove.addEventListener('click', async () => {
    // What took minutes to learn is not gone by one slip.
    if (remove.textContent === 'Delete') return void (remove.textContent = 'Delete for good');
    await Trainer.forget(name).catch((error) => say($('train-status'), error.message, true));
    await showKept(goOn);
  });
  if (inUse) [button.disabled, remove.disabled] = [true, true];
  const where = inUse ? make('small', {}, 'open in another tab') : '';
  return make('li', {}, make('span', {}, make('strong', {}, title), ' ', make('small', {}, about), ' ', where), button, remove);
}

let later = null;

/** Shows what is kept, but for the run `here` that the room has already. */
export async function showKept(goOn, here = null) {
  const runs = (await Trainer.kept().catch(() => [])).filter(({ name }) => name !== here);
  $('kept').hidden = here !== null || runs.length === 0;
  $('kept-runs').replaceChildren(...runs.map((run) => line(run, goOn)));
  // The page that had it may just have been left.
  clearTimeout(later);
  if (here === null && runs.some(({ inUse }) => inUse)) later = setTimeout(() => showKept(goOn), 1000);
}
