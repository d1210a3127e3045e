// What a model that was taught classes says of a text, or of its words: a card that is there only with such a model.

import { pipeline } from '../index.js';
import { $, bar, make } from './dom.js';

/** What each is tried with first, and how many classes are shown. */
const FIRST = { 'text-classification': 'a lovely, funny film', 'token-classification': 'Ada Lovelace wrote to Charles Babbage in London.' };
const MOST = 6;

/** The model, as a promise from the moment that it is chosen; none where it has no such head. */
let loading = null;

const tell = (...items) => $('class-answers').replaceChildren(...items);

/** A text with its entities marked, each kind in a colour of its own. */
function marked(text, entities) {
  const kinds = [...new Set(entities.map(({ entity_group }) => entity_group))];
  const pieces = [];
  let before = 0;
  for (const { entity_group, score, start, end } of entities) {
    const about = make('small', {}, `${entity_group} ${score.toFixed(2)}`);
    pieces.push(text.slice(before, start), make('mark', { class: `kind-${kinds.indexOf(entity_group) % 3}` }, text.slice(start, end), about));
    before = end;
  }
  return make('span', { dir: 'auto' }, ...pieces, text.slice(before));
}

async function answer() {
  const [mine, text] = [loading, $('classified').value.trim()];
  if (!mine || !text) return tell();
  // What was asked of another model, or of another text, is no longer wanted.
  const wanted = () => mine === loading && text === $('classified').value.trim();
  try {
    const model = await mine;
    if (model.task === 'token-classification') {
      const entities = await model(text);
      const nothing = entities.length > 0 ? [] : [make('small', {}, 'nothing found')];
      if (wanted()) tell(make('li', {}, marked(text, entities), ...nothing));
      return;
    }
    const found = await model(text, { top_k: MOST });
    // The score of a model that gives a number is no share of anything.
    const share = (score) => (model.labels.length > 1 ? [bar(score)] : []);
    if (wanted()) tell(...found.map(({ label, score }) => make('li', {}, make('span', { dir: 'auto' }, label), ...share(score), make('output', {}, score.toFixed(2)))));
  } catch (error) {
    if (wanted()) tell(make('li', {}, error.message));
  }
}

/** Shows the card for an embedder whose folder has a head for texts or for words, and hides it for one without. */
export function showClasses(embed) {
  const { labels, tags } = embed;
  loading?.then((old) => old.dispose()).catch(() => {});
  const task = tags ? 'token-classification' : labels.length > 0 ? 'text-classification' : null;
  $('classes').hidden = task === null;
  // It reads the same texts with the same weights.
  loading = task && pipeline(task, embed);
  if (task && Object.values(FIRST).includes($('classified').value)) $('classified').value = FIRST[task];
  $('classes').querySelector('h2').textContent = tags ? 'This model labels words' : 'This model classifies';
  $('class-answers').ariaLabel = tags ? 'Entities' : 'Classes';
  answer();
}

/** Wires the card up. */
export function start() {
  $('classified').value = FIRST['text-classification'];
  $('classified').addEventListener('change', answer);
}
