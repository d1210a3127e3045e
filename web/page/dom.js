// The few things every room needs of the document.

import { isHidden } from '../lib/folder.js';

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children; texts are never taken as markup. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The direction that a text is read in: that of its first letter. */
export function direction(text) {
  const [first] = text.match(/\p{L}/u) ?? [];
  return first && /[\p{Script=Arabic}\p{Script=Hebrew}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Adlam}]/u.test(first) ? 'rtl' : 'ltr';
}

/** A line below a room's controls; errors stand out. */
export function say(element, text, bad = false) {
  element.textContent = text;
  element.classList.toggle('bad', bad);
}

/** A bar whose length is a share of its place. Set as a property, which needs no leave for styles in the markup. */
export function bar(share) {
  const element = make('i');
  element.style.width = `${(100 * share).toFixed(1)}%`;
  return element;
}

/** Hands a file to the browser's downloads. */
export function offer(blob, name) {
  const link = make('a', { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Makes an element take dropped files; `take` gets the DataTransfer, and `failed` the error where that went wrong. Text that is
 * dragged is the browser's business: it moves within a text, or from one to another.
 */
export function onDrop(element, take, failed) {
  const isText = ({ dataTransfer }) => element instanceof HTMLTextAreaElement && !dataTransfer?.types.includes('Files');
  const over = (on) => (event) => {
    if (isText(event)) return;
    event.preventDefault();
    element.classList.toggle('over', on);
  };
  element.addEventListener('dragenter', over(true));
  element.addEventListener('dragover', over(true));
  element.addEventListener('dragleave', over(false));
  element.addEventListener('drop', async (event) => {
    over(false)(event);
    if (isText(event)) return;
    try {
      await take(event.dataTransfer);
    } catch (error) {
      failed(error);
    }
  });
}

/** A file that is dropped beside a zone for it does nothing: browsers would leave the page and open it. */
export function ignoreOtherDrops() {
  for (const type of ['dragover', 'drop']) {
    addEventListener(type, (event) => {
      if (event.defaultPrevented || !event.dataTransfer?.types.includes('Files')) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = 'none';
    });
  }
}

/** The text of files whose names end as `endings` says, one after the other. The others are refused by name, but for hidden ones. */
export async function textOf(all, endings) {
  const files = all.filter(([path]) => !isHidden(path));
  const pattern = new RegExp(`\\.(${endings.join('|')})$`, 'i');
  const wanted = `.${endings.slice(0, -1).join(', .')} or .${endings.at(-1)}`;
  if (files.length === 0) throw new Error(`Expected a file of text (${wanted}), found none.`);
  const texts = [];
  for (const [path, file] of files) {
    if (!pattern.test(path)) throw new Error(`${path}: expected a file of text (${wanted}), found another.`);
    let bytes;
    try {
      bytes = await file.arrayBuffer();
    } catch (error) {
      throw new Error(`${path}: expected a file that can be read, found one that cannot (${error.name}): was it moved, changed or locked?`);
    }
    texts.push(decoded(bytes, path));
  }
  return texts.join('\n');
}

function decoded(bytes, path) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    if (!text.includes('\0')) return text;
  } catch (error) {
    // Other errors than that of the decoder are told as they are.
    if (!(error instanceof TypeError)) throw error;
  }
  throw new Error(`${path}: expected text in UTF-8, found other bytes.`);
}

export const number = (value) => Math.round(value).toLocaleString('en');

/** Draws at most once a frame, however often it is asked to. */
export function perFrame(draw) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      draw();
    });
  };
}

/** Lets the browser draw and hear before work goes on. */
export const nextFrame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
