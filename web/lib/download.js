// Files of a model from a URL: progress per file and over all, kept for the next visit, and fetched again when the
// server has others.

import { openKept, sha256, tagOf } from './cache.js';
import { named } from './errors.js';
import { MODEL_FILES } from './model-files.js';
import { Transfer } from './transfer.js';

/** How long a server may take to say whether a file that is here has changed, in milliseconds. */
const PATIENCE = 5000;
/** A server that is busy is asked so many times, and is not waited for longer than this, in seconds. */
const [ATTEMPTS, LONGEST_WAIT] = [4, 60];
/** An address that names a version never has another file. */
const FIXED = /\/resolve\/[0-9a-f]{40}\//;

const ours = (error) => error.name === 'AbortError' || error.name === 'Disposed';

/** Whether the server still has the version that is here. Where it does not say, what is here is as good as any. */
async function isCurrent(url, tag, { fetch, headers, signal }) {
  if (!tag || FIXED.test(url) || !/^https?:/.test(url)) return true;
  let timer;
  const late = new Promise((done) => (timer = setTimeout(done, PATIENCE, null)));
  try {
    const response = await Promise.race([fetch(url, { method: 'HEAD', cache: 'no-cache', headers, signal }), late]);
    if (!response?.ok) return true;
    const now = tagOf(response);
    return !now || now === tag;
  } catch (error) {
    if (signal?.aborted) throw error;
    return true;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The bytes of a file below `base`, from the cache or the network. `null` if there is none and it is `optional`.
 * Nothing that failed, and no web page sent in place of a file, is kept. `fetch`, `cache`, `token` and `signal` are
 * those of the call; `hash` is the SHA-256 that it must have.
 */
export async function download(base, file, { optional = false, hash = null, report = () => {}, cache = true, token, signal, fetch = (...args) => globalThis.fetch(...args) } = {}) {
  const url = new URL(file, base).href;
  const tell = (event) => report({ name: base, file: file || base, ...event });
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  tell({ status: 'initiate' });
  const kept = await openKept(cache);
  const here = await kept.file(url);
  signal?.throwIfAborted();
  if (here && (hash ? here.hash === hash : await isCurrent(url, here.tag, { fetch, headers, signal }))) {
    tell({ status: 'done', cached: true, loaded: here.bytes.length, total: here.bytes.length });
    return here.bytes;
  }
  tell({ status: 'download' });
  /** Asks for the file, and answers with a response that has it. */
  const request = async (more, attempt = 1) => {
    let response;
    try {
      // What the browser keeps of its own must not stand in for what was just found to have changed.
      response = await fetch(url, { headers: { ...headers, ...more }, signal, cache: here || hash ? 'no-cache' : 'default' });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw Object.assign(named('Unreachable', `${url} could not be reached (${error.message}); check the connection and the address, and whether that server lets other pages read its files (CORS)`), { broken: Boolean(more.range) });
    }
    if ([429, 503].includes(response.status) && attempt < ATTEMPTS) {
      // Servers elsewhere may say how long to wait without letting a page see it.
      const asked = response.headers.get('retry-after');
      const seconds = asked === null ? 2 ** attempt : Number(asked) || Math.max(0, (Date.parse(asked) - Date.now()) / 1000) || 0;
      if (seconds <= LONGEST_WAIT) {
        await response.body?.cancel();
        await new Promise((done) => setTimeout(done, 1000 * seconds));
        signal?.throwIfAborted();
        return request(more, attempt + 1);
      }
    }
    if (response.status === 401 || response.status === 403) {
      throw named('DownloadError', `${url}: the server answered ${response.status}: it wants a token, or there is no such model`);
    }
    // Nothing is left to send, or the file has another length now.
    if (response.status === 416) return response;
    if (!response.ok) throw named('DownloadError', `${url}: the server answered ${response.status} ${response.statusText}`.trim());
    if ((response.headers.get('content-type') ?? '').includes('text/html')) {
      // Servers of single pages send their page in place of what they lack.
      await response.body?.cancel();
      throw named('NoFile', `${url} is a web page, not a file of a model: check the address`);
    }
    return response;
  };
  let found;
  try {
    found = await new Transfer(url, request, kept, tell).run();
  } catch (error) {
    if (signal?.aborted) throw error;
    const lacks = error.name === 'NoFile' || / answered 404/.test(error.message);
    if (optional && (lacks || (error.name === 'Unreachable' && (await kept.isMissing(url))))) {
      if (lacks) await kept.markMissing(url);
      tell({ status: 'done', missing: true });
      return null;
    }
    // Without a network an older version is better than none, unless another was asked for by its hash.
    if (here && !hash && error.name === 'Unreachable') {
      tell({ status: 'done', cached: true, loaded: here.bytes.length, total: here.bytes.length });
      return here.bytes;
    }
    throw ours(error) ? error : named('DownloadError', error.message);
  }
  const { bytes, tag } = found;
  const is = await sha256(bytes);
  if (hash && is !== hash) {
    throw named('DownloadError', `${url}: expected the SHA-256 ${hash}, found ${is}; it was not kept`);
  }
  try {
    await kept.put(url, bytes, is, tag ?? '');
  } catch (error) {
    tell({ status: 'warning', message: `not kept for the next visit: ${error.message || error.name}` });
  }
  tell({ status: 'done', cached: false, loaded: bytes.length, total: bytes.length });
  return bytes;
}

/** Events of single files, and after each the sum over all that are known of. */
function summed(report, name) {
  const files = new Map();
  return (event) => {
    report(event);
    if (event.missing) files.delete(event.file);
    else if (event.total) files.set(event.file, event);
    else return;
    const [loaded, total] = ['loaded', 'total'].map((key) => [...files.values()].reduce((sum, file) => sum + file[key], 0));
    report({ status: 'progress_total', name, loaded, total, progress: total ? (100 * loaded) / total : 0 });
  };
}

/** All files of the model at `base`, as a map from names to bytes; with `verify` also its reference vectors. */
export async function downloadModel(base, { hashes = {}, verify = false, report, signal, ...how }) {
  if (!base.endsWith('/')) base += '/';
  const files = new Map();
  const told = summed(report, base);
  // One that fails gives up the others.
  const all = new AbortController();
  const both = signal ? AbortSignal.any([signal, all.signal]) : all.signal;
  const fetchOne = async (name, optional) => {
    const bytes = await download(base, name, { ...how, optional, hash: hashes[name], report: told, signal: both });
    if (bytes) files.set(name, bytes);
    return bytes;
  };
  const text = (bytes) => new TextDecoder().decode(bytes);
  // No fault of a file that need not be there keeps a model from working.
  const reference = async () => {
    try {
      await fetchOne(MODEL_FILES.reference, true);
    } catch (error) {
      if (both.aborted) throw error;
      report({ status: 'warning', message: `this adapter is not checked: ${error.message}` });
    }
  };
  /** What `modules.json` names. */
  const sentence = async () => {
    const bytes = await fetchOne('modules.json', true);
    if (!bytes) return;
    let modules = [];
    try {
      modules = JSON.parse(text(bytes));
    } catch {
      // The library says what is wrong with it.
    }
    // As the library takes them: `./1_Pooling` and `1_Pooling/` are the same folder.
    const plain = (path) => (typeof path === 'string' ? path.replace(/^(\.\/)+|\/+$/g, '') : path);
    const sound = (path) => typeof path === 'string' && path.split('/').every((part) => /^\w[\w.-]*$/.test(part));
    const folders = (Array.isArray(modules) ? modules : []).map((module) => ({ ...module, path: plain(module?.path) })).filter((module) => sound(module?.path));
    // Of all modules behind the encoder only linear layers have weights.
    const layers = folders.filter(({ type }) => /\.Dense$/.test(type));
    const more = [...folders.map(({ path }) => `${path}/config.json`), ...layers.map(({ path }) => `${path}/${MODEL_FILES.weights}`)];
    await Promise.all([...MODEL_FILES.sentence, ...more].map((name) => fetchOne(name, true)));
  };
  const weights = async () => {
    if (await fetchOne(MODEL_FILES.weights, true)) return;
    const parts = await fetchOne(MODEL_FILES.index, true);
    if (!parts) throw named('DownloadError', `${base} has no ${MODEL_FILES.weights}`);
    let names = [];
    try {
      names = [...new Set(Object.values(JSON.parse(text(parts)).weight_map))];
    } catch {
      // The library says what is wrong with it.
    }
    for (const name of names.filter((name) => /^[\w.-]+$/.test(name))) await fetchOne(name, false);
  };
  const { needed, optional } = MODEL_FILES;
  try {
    // What is small first: where one of these is not there, nothing large need come.
    await Promise.all(needed.map((name) => fetchOne(name, false)));
    await Promise.all([
      weights(),
      sentence(),
      ...optional.filter((name) => name !== 'modules.json').map((name) => fetchOne(name, true)),
      ...(verify ? [reference()] : []),
    ]);
  } catch (error) {
    all.abort();
    throw error;
  }
  return files;
}
