// Which model the rooms of trained models use, and how a visitor chooses another.

import { chosenFiles, droppedFiles, pipeline } from '../index.js';
import { make, onDrop, say } from './dom.js';

const CHOICES = {
  shipped: { name: 'the small model of this page', title: 'Small', size: '3 MB', model: new URL('../model/', import.meta.url).href },
  minilm: { name: 'all-MiniLM-L6-v2', title: 'MiniLM', size: '91 MB', model: 'https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main/' },
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

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

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

  /** `ready` is called with every model that was loaded. */
  constructor(element, task, ready) {
    [this.#at, this.#task, this.#ready] = [element, task, ready];
    const room = element.id;
    const radio = (key) => {
      const input = make('input', { type: 'radio', name: room, value: key });
      input.addEventListener('change', () => choose(key));
      const { title, size } = CHOICES[key];
      return make('label', {}, input, make('span', {}, title, ...(size ? [' ', make('small', {}, size)] : [])));
    };
    const url = make('input', { type: 'url', placeholder: 'https://… a folder with config.json', spellcheck: 'false', 'aria-label': 'Address of a model' });
    const go = make('button', {}, 'Load');
    const fromUrl = () => url.value.trim() && useModel(new URL(url.value.trim(), location.href).href, url.value.trim());
    go.addEventListener('click', fromUrl);
    url.addEventListener('keydown', (event) => event.key === 'Enter' && fromUrl());
    const input = make('input', { type: 'file', multiple: '', webkitdirectory: '', hidden: '' });
    const drop = make('label', { class: 'drop small', tabindex: '0' }, input, make('span', {}, 'or ', make('strong', {}, 'drop a model folder'), ' of BERT or sentence-transformers, from disk'));
    const files = (list) => list.length && useModel(list, list[0][0].split('/')[0]);
    onDrop(drop, async (transfer) => files(await droppedFiles(transfer)));
    input.addEventListener('change', () => files(chosenFiles(input)));
    this.parts = {
      url,
      own: make('div', { class: 'own', hidden: '' }, make('div', { class: 'row' }, make('label', { class: 'field grow' }, url), go), drop),
      bars: make('div', { class: 'downloads' }),
      about: make('span', {}),
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
    this.parts.own.hidden = chosen !== 'own' || Boolean(this.#loaded && this.#loaded === CHOICES.own);
    this.parts.about.textContent = chosen === 'own' ? (CHOICES.own.model ? CHOICES.own.name : '') : ABOUT[chosen];
  }

  async #load() {
    const choice = CHOICES[chosen];
    this.#loading = choice;
    this.#at.dataset.state = 'loading';
    this.parts.again.hidden = true;
    this.parts.bars.replaceChildren();
    this.#warning = '';
    say(this.parts.status, 'Loading …');
    try {
      const call = await pipeline(this.#task, choice.model, { dtype: 'auto', verify: true, progress_callback: (event) => this.#progress(choice, event) });
      // Another may have been chosen meanwhile.
      if (this.#loading !== choice) return void call.dispose().catch(() => {});
      const old = this.#call;
      [this.#call, this.#loaded, this.#loading] = [call, choice, null];
      old?.dispose().catch(() => {});
      this.parts.bars.replaceChildren();
      say(this.parts.status, this.#warning);
      this.#at.dataset.state = 'ready';
      this.#at.dataset.verified = String(Boolean(call.verified));
      this.#show();
      await this.#ready(call);
    } catch (error) {
      if (this.#loading !== choice) return;
      this.#loading = null;
      this.#at.dataset.state = 'failed';
      this.parts.again.hidden = false;
      const what = error.name === 'WrongResult' ? 'This GPU computes wrong, so nothing is answered. ' : '';
      say(this.parts.status, what + error.message, true);
    }
  }

  /** Progress bars, one a file. */
  #progress(choice, event) {
    if (this.#loading !== choice) return;
    if (event.status === 'warning') say(this.parts.status, (this.#warning = event.message));
    if (event.status === 'verify') say(this.parts.status, 'Checking what this GPU computes …');
    if (!event.file) return;
    let row = this.parts.bars.querySelector(`[data-file="${CSS.escape(event.file)}"]`);
    if (event.missing) return void row?.remove();
    if (!row) {
      row = make('div', { class: 'download', 'data-file': event.file }, make('span', {}, event.file), make('progress', { max: '100', value: '0' }), make('output'));
      this.parts.bars.append(row);
    }
    const [, bar, text] = row.children;
    if (event.status === 'progress') {
      bar.value = event.progress;
      text.textContent = megabytes(event.loaded);
    }
    if (event.status === 'done') {
      bar.value = 100;
      if (event.cached) text.textContent = 'kept';
    }
  }
}

/** `?model=` names another model to begin with. */
const asked = new URLSearchParams(location.search).get('model');
if (asked) {
  CHOICES.own = { ...CHOICES.own, model: new URL(asked, location.href).href, name: asked };
  chosen = 'own';
}
