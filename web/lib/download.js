// Files of a model from a URL: progress per file, kept by the Cache API under their SHA-256.

import { named } from './errors.js';
import { MODEL_FILES } from './model-files.js';

export const CACHE = 'wgrad-models';
const HASH = 'x-wgrad-sha256';
/** Marks what a server was found not to have: without a network that is as good as asking again. */
const MISSING = 'x-wgrad-missing';

async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return null; // pages that are not served securely have neither this nor a cache
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function openCache() {
  try {
    return globalThis.caches ? await caches.open(CACHE) : null;
  } catch {
    return null; // private windows of some browsers
  }
}

/** What the cache holds under `url`, if its bytes are those that were put there and `expected`. */
async function fromCache(cache, url, expected) {
  const kept = await cache?.match(url);
  if (!kept || kept.headers.has(MISSING)) return null;
  const bytes = new Uint8Array(await kept.arrayBuffer());
  const hash = await sha256(bytes);
  if (hash === kept.headers.get(HASH) && (!expected || hash === expected)) return bytes;
  await cache.delete(url);
  return null;
}

async function received(response, url, report) {
  const total = Number(response.headers.get('content-length')) || 0;
  const reader = response.body.getReader();
  const parts = [];
  let loaded = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    loaded += value.length;
    report({ status: 'progress', loaded, total: Math.max(total, loaded), progress: total ? Math.min(100, (100 * loaded) / total) : 0 });
  }
  // A packed transfer has fewer bytes than it unpacks to, so only plain ones can be counted.
  if (total && !response.headers.get('content-encoding') && loaded !== total) {
    throw named('DownloadError', `${url}: ${loaded} of ${total} bytes arrived; try again`);
  }
  const bytes = new Uint8Array(loaded);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/**
 * The bytes of a file below `base`, from the cache or the network. `null` if there is none and it is `optional`.
 * Nothing that failed, and no web page sent in place of a file, is kept.
 */
export async function download(base, file, { optional = false, hash = null, report = () => {} } = {}) {
  const url = new URL(file, base).href;
  const tell = (event) => report({ name: base, file, ...event });
  tell({ status: 'initiate' });
  const cache = await openCache();
  const kept = await fromCache(cache, url, hash);
  if (kept) {
    tell({ status: 'done', cached: true });
    return kept;
  }
  tell({ status: 'download' });
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    if (optional && (await cache?.match(url))?.headers.has(MISSING)) {
      tell({ status: 'done', missing: true });
      return null;
    }
    throw named('DownloadError', `${url} could not be reached (${error.message}); check the connection and try again`);
  }
  const missing = async () => {
    await cache?.put(url, new Response('', { headers: { [MISSING]: '1' } })).catch(() => {});
    tell({ status: 'done', missing: true });
    return null;
  };
  if (response.status === 404 && optional) return missing();
  if (!response.ok) throw named('DownloadError', `${url}: the server answered ${response.status} ${response.statusText}`.trim());
  if ((response.headers.get('content-type') ?? '').includes('text/html')) {
    // Servers of single pages send their page in place of what they lack.
    await response.body?.cancel();
    if (optional) return missing();
    throw named('DownloadError', `${url} is a web page, not a file of a model: check the address`);
  }
  const bytes = await received(response, url, tell);
  const found = await sha256(bytes);
  if (hash && found !== hash) {
    throw named('DownloadError', `${url}: expected the SHA-256 ${hash}, found ${found}; it was not kept`);
  }
  if (cache && found) {
    const headers = { [HASH]: found, 'content-type': 'application/octet-stream', 'content-length': `${bytes.length}` };
    try {
      await cache.put(url, new Response(bytes, { headers }));
    } catch (error) {
      tell({ status: 'warning', message: `not kept for the next visit: ${error.message || error.name}` });
    }
  }
  tell({ status: 'done', cached: false });
  return bytes;
}

/** All files of the model at `base`, as a map from names to bytes; with `verify` also its reference vectors. */
export async function downloadModel(base, { hashes = {}, verify = false, report }) {
  if (!base.endsWith('/')) base += '/';
  const files = new Map();
  const fetchOne = async (name, optional) => {
    const bytes = await download(base, name, { optional, hash: hashes[name], report });
    if (bytes) files.set(name, bytes);
    return bytes;
  };
  const text = (bytes) => new TextDecoder().decode(bytes);
  // No fault of a file that need not be there keeps a model from working.
  const reference = async () => {
    try {
      await fetchOne(MODEL_FILES.reference, true);
    } catch (error) {
      report({ status: 'warning', message: `this adapter is not checked: ${error.message}` });
    }
  };
  const { needed, optional, sentence } = MODEL_FILES;
  await Promise.all([
    ...needed.map((name) => fetchOne(name, false)),
    ...optional.map((name) => fetchOne(name, true)),
    ...(verify ? [reference()] : []),
  ]);
  if (files.has('modules.json')) {
    let modules = [];
    try {
      modules = JSON.parse(text(files.get('modules.json')));
    } catch {
      // The library says what is wrong with it.
    }
    const paths = (Array.isArray(modules) ? modules : []).map((module) => module?.path);
    const folders = paths.filter((path) => typeof path === 'string' && /^[\w-]+$/.test(path));
    const more = [...sentence, ...folders.map((path) => `${path}/config.json`)];
    await Promise.all(more.map((name) => fetchOne(name, true)));
  }
  if (await fetchOne(MODEL_FILES.weights, true)) return files;
  const parts = await fetchOne(MODEL_FILES.index, true);
  if (!parts) throw named('DownloadError', `${base} has no ${MODEL_FILES.weights}`);
  let names = [];
  try {
    names = [...new Set(Object.values(JSON.parse(text(parts)).weight_map))];
  } catch {
    // The library says what is wrong with it.
  }
  for (const name of names.filter((name) => /^[\w.-]+$/.test(name))) await fetchOne(name, false);
  return files;
}
