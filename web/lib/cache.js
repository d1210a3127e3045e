// What is kept of downloads for the next visit, in the browser's Cache API: files under their SHA-256, parts of files
// whose download broke off, and what a server was found not to have.

export const CACHE = 'wgrad-models';
const HASH = 'x-wgrad-sha256';
/** How the server named the version of a file. */
const TAG = 'x-wgrad-tag';
/** Marks what a server was found not to have: without a network that is as good as asking again. */
const MISSING = 'x-wgrad-missing';
/** A part of a file that has not arrived in full: its bytes go on the ones of the part before. */
const PART = 'wgrad-part';

export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return null; // pages that are not served securely have neither this nor a cache
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** What tells one version of a file from another: its ETag, or when it was changed, or how long it is. */
export function tagOf({ headers }) {
  const length = headers.has('content-encoding') ? null : headers.get('content-length');
  // Servers that pack on the way mark the tag of the same bytes as weak.
  return headers.get('etag')?.replace(/^W\//, '') ?? headers.get('last-modified') ?? length ?? '';
}

/** The cache that `cache` names, or one that keeps nothing. */
export async function openKept(cache = true) {
  let store = null;
  try {
    if (cache && globalThis.caches) store = await caches.open(cache === true ? CACHE : String(cache));
  } catch {
    // Private windows of some browsers have none.
  }
  return new Kept(store);
}

class Kept {
  #store;

  constructor(store) {
    this.#store = store;
  }

  /** A file's bytes and its tag, if the bytes are those that were put there. */
  async file(url) {
    const found = await this.#store?.match(url);
    if (!found || found.headers.has(MISSING)) return null;
    const bytes = new Uint8Array(await found.arrayBuffer());
    const hash = await sha256(bytes);
    if (hash === found.headers.get(HASH)) return { bytes, hash, tag: found.headers.get(TAG) ?? '' };
    await this.#store.delete(url);
    return null;
  }

  async isMissing(url) {
    return Boolean((await this.#store?.match(url))?.headers.has(MISSING));
  }

  async markMissing(url) {
    await this.#store?.put(url, new Response('', { headers: { [MISSING]: '1' } })).catch(() => {});
  }

  /** Keeps a file in place of its parts. Rejects where there is no room. */
  async put(url, bytes, hash, tag) {
    await this.dropParts(url);
    if (!hash) return;
    const headers = { [HASH]: hash, [TAG]: tag, 'content-type': 'application/octet-stream', 'content-length': `${bytes.length}` };
    await this.#store?.put(url, new Response(bytes, { headers }));
  }

  #part(url, number) {
    const address = new URL(url);
    address.searchParams.set(PART, number);
    return address.href;
  }

  /** The parts that arrived of a version of a file, in order. */
  async parts(url) {
    const found = [];
    let tag = null;
    while (this.#store && /^https?:/.test(url)) {
      const part = await this.#store.match(this.#part(url, found.length));
      if (!part || (tag !== null && part.headers.get(TAG) !== tag)) break;
      tag = part.headers.get(TAG);
      found.push(new Uint8Array(await part.arrayBuffer()));
    }
    return { parts: found, tag };
  }

  async putPart(url, number, bytes, tag) {
    if (/^https?:/.test(url)) await this.#store?.put(this.#part(url, number), new Response(bytes, { headers: { [TAG]: tag } })).catch(() => {});
  }

  async dropParts(url) {
    for (let number = 0; this.#store && /^https?:/.test(url); number++) {
      if (!(await this.#store.delete(this.#part(url, number)))) break;
    }
  }
}
