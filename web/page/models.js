// Which model the rooms of trained models use, and how a visitor chooses another.

import { chosenFiles, droppedFiles, pipeline } from '../index.js';
import { make, onDrop, say } from './dom.js';

const CHOICES = {
  shipped: { name: 'the small model of this page', title: 'Small', size: '3 MB', model: new URL('../model/', import.meta.url).href },
  minilm: { name: 'all-MiniLM-L6-v2', title: 'MiniLM', size: '91 MB', model: 'sentence-transformers/all-MiniLM-L6-v2' },
  own: { name: 'your own', title: 'Your own', size: '', model: null },
};
const ABOUT = {
  shipped: 'Comes with the page, learned from a dictionary: it finds words that are shared or related. MiniLM knows far more.',
  minilm: 'A well-known model, from Hugging Face. It is kept for the next visit.',
  own: '',
};

/** One choice for all rooms: what is picked in one is there in the other. */
let chosen = 'shipped';
const pickers = [];

function choose(key) {
  chosen = key;
  for (const picker of pickers) picker.follow();
}

/** Takes a model from elsewhere: the address of a folder, or its files. */
export function useModel(model, name) {
  CHOICES.own = { ...CHOICES.own, model, name };
  choose('own');
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);

/** The SHA-256 that the files of the page's own model have in this version of the page, if it was built with them. */
async function shippedHashes() {
  try {
    const { files } = await (await fetch(new URL('../files.json', import.meta.url), { cache: 'no-cache' })).json();
    const own = Object.entries(files).filter(([path]) => path.startsWith('model/'));
    return Object.fromEntries(own.map(([path, hash]) => [path.slice('model/'.length), hash]));
  } catch {
    return undefined;
  }
}

/** The model of one room, with the controls to choose it. */
export class ModelPicker {
  #at;
  #task;
  #ready;
  #loaded = null; // the choice that #call runs
  #loading = null;
  #call = null;
  #open = false;
  #warning = '';
  #given = null; // gives up what is being loaded

  /** `ready` is called with every model that was loaded, and with where it came from. */
  constructor(element, task, ready) {
    [this.#at, this.#task, this.#ready] = [element, task, ready];
    const room = element.id;
    const radio = (key) => {
      const input = make('input', { type: 'radio', name: room, value: key });
      input.addEventListener('change', () => choose(key));
      const { title, size } = CHOICES[key];
      return make('label', {}, input, make('span', {}, title, ...(size ? [' ', make('small', {}, size)] : [])));
    };
    const url = make('input', { class: 'address', placeholder: 'owner/name, or https://…', spellcheck: 'false', autocapitalize: 'off', 'aria-label': 'Name or address of a model' });
    const go = make('button', {}, 'Load');
    const fromUrl = () => url.value.trim() && useModel(url.value.trim(), url.value.trim());
    go.addEventListener('click', fromUrl);
    url.addEventListener('keydown', (event) => event.key === 'Enter' && fromUrl());
    const input = make('input', { type: 'file', multiple: '', webkitdirectory: '', class: 'unseen', 'aria-label': 'Folder of a model' });
    const drop = make('label', { class: 'drop small' }, input, make('span', {}, 'or ', make('strong', {}, 'drop a model folder'), ' or a zip of one, of BERT or sentence-transformers, from disk'));
    const files = (list) => list.length && useModel(list, list[0][0].split('/')[0]);
    onDrop(drop, async (transfer) => files(await droppedFiles(transfer)), (error) => say(this.parts.status, error.message, true));
    input.addEventListener('change', () => {
      files(chosenFiles(input));
      // The same folder can be chosen again, with other files in it.
      input.value = '';
    });
    this.parts = {
      url,
      own: make('div', { class: 'own', hidden: '' }, make('div', { class: 'row' }, make('label', { class: 'field grow' }, url), go), drop),
      bars: make('div', { class: 'downloads' }),
      about: make('span', { class: 'about' }),
      status: make('p', { class: 'hint', role: 'status' }),
      again: make('button', { class: 'quiet', hidden: '' }, 'Try again'),
    };
    const { own, bars, about, status, again } = this.parts;
    again.addEventListener('click', () => this.#load());
    const line = make('div', { class: 'model-line' }, make('strong', {}, 'Model'), make('div', { class: 'segmented', role: 'radiogroup', 'aria-label': 'Model' }, ...Object.keys(CHOICES).map(radio)), about);
    element.replaceChildren(line, own, bars, make('div', { class: 'row tight' }, status, again));
    pickers.push(this);
    this.#show();
  }

  /** The room is looked at: its model is needed now. */
  open() {
    this.#open = true;
    this.follow();
  }

  close() {
    this.#open = false;
  }

  /** Loads what was chosen, if the room is open and has another. */
  follow() {
    this.#show();
    if (this.#open && CHOICES[chosen].model && this.#loaded !== CHOICES[chosen] && this.#loading !== CHOICES[chosen]) this.#load();
  }

  disable(why) {
    this.#at.querySelectorAll('input, button').forEach((control) => (control.disabled = true));
    say(this.parts.status, why, true);
    this.#open = false;
    this.open = () => {};
  }

  #show() {
    this.#at.querySelector(`input[value=${chosen}]`).checked = true;
    this.parts.own.hidden = chosen !== 'own';
    this.parts.about.textContent = chosen === 'own' ? (CHOICES.own.model ? CHOICES.own.name : '') : ABOUT[chosen];
  }

  async #load() {
    const choice = CHOICES[chosen];
    this.#loading = choice;
    this.#given?.abort();
    const { signal } = (this.#given = new AbortController());
    this.#at.dataset.state = 'loading';
    this.parts.again.hidden = true;
    this.parts.bars.replaceChildren();
    this.#warning = '';
    say(this.parts.status, 'Loading …');
    try {
      const hashes = choice === CHOICES.shipped ? await shippedHashes() : undefined;
      const call = await pipeline(this.#task, choice.model, { dtype: 'auto', verify: true, hashes, signal, progress_callback: (event) => this.#progress(choice, event) });
      // Another may have been chosen meanwhile.
      if (signal.aborted) return void call.dispose().catch(() => {});
      const old = this.#call;
      [this.#call, this.#loaded, this.#loading] = [call, choice, null];
      old?.dispose().catch(() => {});
      this.parts.bars.replaceChildren();
      say(this.parts.status, this.#warning);
      this.#at.dataset.state = 'ready';
      this.#at.dataset.verified = String(Boolean(call.verified));
      this.#show();
      await this.#ready(call, choice.model);
    } catch (error) {
      if (signal.aborted) return;
      this.#loading = null;
      this.#at.dataset.state = 'failed';
      this.parts.again.hidden = false;
      const what = error.name === 'WrongResult' ? 'This GPU computes wrong, so nothing is answered. ' : '';
      say(this.parts.status, what + error.message, true);
    }
  }

  /** One bar for all files. */
  #progress(choice, event) {
    if (this.#loading !== choice) return;
    if (event.status === 'warning') say(this.parts.status, (this.#warning = event.message));
    if (event.status === 'verify') say(this.parts.status, 'Checking what this GPU computes …');
    if (event.status !== 'progress_total') return;
    const { bars } = this.parts;
    if (!bars.firstChild) bars.append(make('div', { class: 'download' }, make('progress', { max: '100', value: '0', 'aria-label': 'Download' }), make('output')));
    const [bar, text] = bars.firstChild.children;
    bar.value = event.progress;
    text.textContent = `${megabytes(event.loaded)} of ${megabytes(event.total)} MB`;
  }
}

/** `?model=` names another model to begin with; what is wrong with the name is told where its loading is. */
const asked = new URLSearchParams(location.search).get('model');
if (asked) {
  CHOICES.own = { ...CHOICES.own, model: asked, name: asked };
  chosen = 'own';
}
