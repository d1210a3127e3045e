// What a model that was taught classes says of a text: a card that is there only with such a model.

import { pipeline } from '../index.js';
import { $, bar, make } from './dom.js';

/** What it is tried with first, and how many classes are shown. */
const FIRST = 'a lovely, funny film';
const MOST = 6;

/** The model, as a promise from the moment that it is chosen; none where it has no classes. */
let loading = null;

const tell = (...items) => $('class-answers').replaceChildren(...items);

async function answer() {
  const [mine, text] = [loading, $('classified').value.trim()];
  if (!mine || !text) return tell();
  // What was asked of another model, or of another text, is no longer wanted.
  const wanted = () => mine === loading && text === $('classified').value.trim();
  try {
    const classify = await mine;
    const found = await classify(text, { top_k: MOST });
    // The score of a model that gives a number is no share of anything.
    const share = (score) => (classify.labels.length > 1 ? [bar(score)] : []);
    if (wanted()) tell(...found.map(({ label, score }) => make('li', {}, make('span', { dir: 'auto' }, label), ...share(score), make('output', {}, score.toFixed(2)))));
  } catch (error) {
    if (wanted()) tell(make('li', {}, error.message));
  }
}

/** Shows the card for a model with these classes, and hides it for one without. */
export function showClasses(labels, model) {
  loading?.then((old) => old.dispose()).catch(() => {});
  $('classes').hidden = labels.length === 0;
  loading = labels.length === 0 ? null : pipeline('text-classification', model, { dtype: 'auto' });
  answer();
}

/** Wires the card up. */
export function start() {
  $('classified').value = FIRST;
  $('classified').addEventListener('change', answer);
}
