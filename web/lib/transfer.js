// One file from a server, which goes on where it broke off: in this visit, and in the next.

import { tagOf } from './cache.js';
import { named } from './errors.js';

/** Bytes that are kept at once while a file arrives. */
const PART = 1 << 23;
/** How long to wait before a broken transfer is taken up again, while nothing more arrives, in milliseconds. */
const PAUSES = [200, 1000, 4000];
/** A server that sends nothing for so long is given up and asked again, in milliseconds. */
const PATIENCE = 30_000;

const wait = (time) => new Promise((done) => setTimeout(done, time));

/** What `promise` gives, or an error when it gives nothing in time. */
async function inTime(promise, patience) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no byte came for ${patience / 1000} seconds`)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const joined = (parts, length) => {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
};

/**
 * Bytes of the file at `url` and its tag. `request(headers)` asks the server for it and rejects where it does not answer
 * with a file.
 */
export class Transfer {
  #url;
  #request;
  #kept;
  #tell;
  /** What has arrived: parts that are kept, and pieces that are not yet. */
  #parts = [];
  #pieces = [];
  #loaded = 0;
  #unkept = 0;
  #tag = null;
  #patience;

  constructor(url, request, kept, tell, patience = PATIENCE) {
    [this.#url, this.#request, this.#kept, this.#tell, this.#patience] = [url, request, kept, tell, patience];
  }

  /** The whole file, as `{ bytes, tag }`. */
  async run() {
    const before = await this.#kept.parts(this.#url);
    this.#parts = before.parts;
    this.#loaded = before.parts.reduce((sum, { length }) => sum + length, 0);
    this.#tag = before.tag;
    for (let tries = 0; ; ) {
      const start = this.#loaded;
      try {
        await this.#receive(await this.#answer());
        return { bytes: joined([...this.#parts, ...this.#pieces], this.#loaded), tag: this.#tag };
      } catch (error) {
        if (!error.broken) throw error;
        // Whatever arrived is a reason to go on; nothing, again and again, is none.
        tries = this.#loaded > start ? 0 : tries + 1;
        if (tries >= PAUSES.length) {
          if (this.#unkept) await this.#keepPart();
          throw named('DownloadError', error.message);
        }
        await wait(PAUSES[tries]);
      }
    }
  }

  /** An answer that goes on from what is here; from the start where the server cannot, or has another version. */
  async #answer() {
    if (this.#loaded === 0) return this.#request({});
    const response = await this.#request({ range: `bytes=${this.#loaded}-` });
    const from = Number(response.headers.get('content-range')?.match(/bytes (\d+)-/)?.[1]);
    const total = Number(response.headers.get('content-range')?.match(/\/(\d+)$/)?.[1]);
    const version = response.headers.get('etag') || response.headers.get('last-modified') ? tagOf(response) : this.#tag;
    if (response.status === 206 && from === this.#loaded && version === this.#tag) return Object.assign(response, { total });
    await this.#restart();
    if (response.status === 200) return response;
    await response.body?.cancel();
    return this.#request({});
  }

  async #restart() {
    [this.#parts, this.#pieces, this.#loaded, this.#unkept, this.#tag] = [[], [], 0, 0, null];
    await this.#kept.dropParts(this.#url);
  }

  async #keepPart() {
    const part = joined(this.#pieces, this.#unkept);
    await this.#kept.putPart(this.#url, this.#parts.length, part, this.#tag);
    this.#parts.push(part);
    [this.#pieces, this.#unkept] = [[], 0];
  }

  async #receive(response) {
    const length = Number(response.headers.get('content-length')) || 0;
    // A packed transfer has fewer bytes than it unpacks to, so only plain ones can be counted.
    const plain = !response.headers.get('content-encoding');
    const total = response.total || (plain ? length : 0);
    this.#tag ??= tagOf(response);
    const tell = () => {
      const known = Math.max(total || length, this.#loaded);
      this.#tell({ status: 'progress', loaded: this.#loaded, total: known, progress: known ? (100 * this.#loaded) / known : 0 });
    };
    const broken = (why) => Object.assign(new Error(`${this.#url}: ${this.#loaded} of ${total || 'unknown'} bytes arrived (${why}); try again, it goes on from there`), { broken: true });
    const reader = response.body.getReader();
    for (;;) {
      let piece;
      try {
        piece = await inTime(reader.read(), this.#patience);
      } catch (error) {
        // A server that is silent may still hold the line.
        reader.cancel().catch(() => {});
        if (error.name === 'AbortError' || error.name === 'Disposed') throw error;
        if (!plain) await this.#restart();
        throw broken(error.message);
      }
      if (piece.done) break;
      this.#pieces.push(piece.value);
      this.#loaded += piece.value.length;
      this.#unkept += piece.value.length;
      if (plain && total > PART && this.#unkept >= PART) await this.#keepPart();
      tell();
    }
    if (total && this.#loaded !== total) throw broken('the connection ended');
  }
}
