// Downloads from servers that fall silent or are busy, without a browser.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { download } from '../lib/download.js';
import { Transfer } from '../lib/transfer.js';

const BYTES = Uint8Array.from({ length: 1000 }, (_, at) => at % 251);

/** Keeps nothing. */
const kept = { parts: async () => ({ parts: [], tag: null }), dropParts: async () => {}, putPart: async () => {} };

test('a server that falls silent is given up and asked for the rest', async () => {
  const asked = [];
  const request = async ({ range }) => {
    asked.push(range);
    const from = Number(range?.match(/\d+/)[0] ?? 0);
    const whole = asked.length > 2;
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(BYTES.slice(from, whole ? BYTES.length : from + 300));
        if (whole) controller.close();
      },
    });
    const headers = { etag: '"a"', 'content-length': BYTES.length - from };
    if (from) headers['content-range'] = `bytes ${from}-999/1000`;
    return new Response(body, { status: from ? 206 : 200, headers });
  };
  const clock = Date.now();
  const { bytes } = await new Transfer('http://x/a', request, kept, () => {}, 100).run();
  assert.deepEqual(bytes, BYTES);
  assert.deepEqual(asked, [undefined, 'bytes=300-', 'bytes=600-']);
  assert.ok(Date.now() - clock < 5000);
});

test('a busy server is waited for as it asks', async () => {
  let asked = 0;
  const fetch = async () => {
    asked += 1;
    if (asked > 2) return new Response(BYTES, { headers: { 'content-length': 1000 } });
    return new Response('busy', { status: 429, headers: { 'retry-after': asked === 1 ? '1' : new Date(0).toUTCString() } });
  };
  const clock = Date.now();
  assert.deepEqual(await download('http://x/', 'a', { fetch, cache: false }), BYTES);
  assert.ok(asked === 3 && Date.now() - clock >= 1000);
  // An hour is too long for a visitor.
  const never = async () => new Response('busy', { status: 429, headers: { 'retry-after': '3600' } });
  await assert.rejects(download('http://x/', 'a', { fetch: never, cache: false }), /answered 429/);
});
