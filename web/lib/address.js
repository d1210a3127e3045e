// What a model is called, as people type it: a name on Hugging Face, an address, or files.

import { env } from './env.js';
import { named } from './errors.js';

/** `owner/name`, or one of the few without an owner. Paths say that they are paths: `./models/mine`, `models/mine/`. */
const NAME = /^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*)?$/;

const wrong = (found) =>
  named('ConfigError', `model: expected a name such as sentence-transformers/all-MiniLM-L6-v2, the address of a folder or a zip archive, or files; found ${found}`);

function base() {
  const here = env.base ?? globalThis.document?.baseURI ?? globalThis.location?.href;
  // A page at `about:blank` or in a `blob:` has no folder.
  return here && URL.canParse(here) ? here : undefined;
}

const remote = (name, revision) => {
  const path = env.remotePathTemplate.replaceAll('{model}', name).replaceAll('{revision}', encodeURIComponent(revision));
  return new URL(path, env.remoteHost.endsWith('/') ? env.remoteHost : `${env.remoteHost}/`).href;
};

/** The address of the folder (or the zip archive) that `model` names. */
export function addressOf(model, revision = 'main') {
  const text = model.trim();
  if (!text) throw wrong('nothing');
  if (NAME.test(text) && !text.endsWith('.zip') && !text.startsWith('localhost')) return remote(text, revision);
  let url;
  try {
    url = new URL(text, base());
  } catch {
    throw wrong(`“${text.slice(0, 200)}”`);
  }
  if (!/^(https?|blob|data|file):$/.test(url.protocol)) throw wrong(`an address of the kind ${url.protocol}`);
  // What is copied from the address bar is the page of a model, not the folder of its files.
  if (url.origin === new URL(env.remoteHost).origin) {
    const [, name, tree] = url.pathname.match(/^\/([^/]+\/[^/]+)(?:\/tree\/([^/]+))?\/?$/) ?? [];
    if (name) return remote(name, tree ? decodeURIComponent(tree) : revision);
  }
  if (/\.zip$/i.test(url.pathname) || url.protocol === 'blob:' || url.protocol === 'data:') return url.href;
  url.hash = '';
  if (!url.pathname.endsWith('/')) url.pathname += '/';
  return url.href;
}

/** Whether an address is that of an archive, which is fetched as one file. */
export const isArchive = (url) => /^(blob|data):/.test(url) || /\.zip$/i.test(new URL(url).pathname);

async function* handles(folder, path) {
  for await (const handle of folder.values()) {
    if (handle.kind === 'file') yield [path + handle.name, await handle.getFile()];
    else yield* handles(handle, `${path}${handle.name}/`);
  }
}

/**
 * Files in all the forms that a page has them in, as `[path, content]` pairs: such pairs, a `FileList` or a list of
 * files, one zip archive, a folder's handle, an object from names to contents.
 */
export async function filesOf(model) {
  if (model instanceof Blob) return [[model.name ?? 'model.zip', model]];
  if (model?.kind === 'directory') return collected(handles(model, ''));
  if (typeof model?.[Symbol.iterator] === 'function') {
    const list = [...model];
    if (list.length && list.every((file) => file instanceof Blob)) return list.map((file) => [file.webkitRelativePath || file.name, file]);
    if (list.length && list.every((pair) => Array.isArray(pair) && typeof pair[0] === 'string')) return list;
    throw wrong(list.length ? 'a list of something else' : 'no files');
  }
  if (model && Object.getPrototypeOf(model) === Object.prototype) return filesOf(Object.entries(model));
  throw wrong(model === null ? 'null' : typeof model);
}

async function collected(items) {
  const list = [];
  for await (const item of items) list.push(item);
  return list;
}
