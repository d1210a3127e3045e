// Returning visitors: a new build and a new model reach them, whole; without a network the old one works.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BASE, ROOT, asked, end, faults, open, place } from './setup.js';

after(end);

const site = join(place, 'site');
for (const name of ['index.html', 'index.js', 'worker.js', 'sw.js', 'lib', 'page', 'wasm', 'model']) cpSync(join(ROOT, 'web', name), join(site, name), { recursive: true });
const manifest = () => execFileSync(join(ROOT, 'scripts/web-manifest'), [site]);
const built = (number) => {
  for (const name of ['page/main.js', 'lib/page.js', 'worker.js']) {
    const path = join(site, name);
    writeFileSync(path, `${readFileSync(path, 'utf8').replace(/\n\(globalThis\.built.*\n/g, '\n')}\n(globalThis.built ??= []).push(${number});\n`);
  }
};
const answered = (page) => page.waitForSelector('#answers li', { timeout: 120_000 });
const version = async (page) => {
  await answered(page);
  const worker = page.workers()[0];
  return [...(await page.evaluate(() => globalThis.built)), ...(await worker.evaluate(() => globalThis.built))];
};

test('a new build arrives at the next visit, never a mixture; a new model with it', async () => {
  built(1);
  manifest();
  const page = await open('place/site/index.html#search');
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(async () => (await caches.keys()).some((name) => /^wgrad-page-(?!state)/.test(name)));
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  assert.deepEqual([...new Set(await version(page))], [1]);

  // Half of a build is on the server: the manifest is not that of its files.
  built(2);
  await page.reload();
  assert.deepEqual(await version(page), [1, 1, 1], 'the old version, whole');
  manifest();
  await page.reload();
  assert.deepEqual(await version(page), [2, 2, 2], 'the new one, at the next visit');

  // An open page keeps its version, the worker that it starts anew too.
  built(3);
  manifest();
  const other = await page.context().newPage();
  await other.goto(`${BASE}place/site/index.html#search`);
  assert.deepEqual(await version(other), [3, 3, 3]);
  await page.evaluate(async () => {
    const { terminate, deviceInfo } = await import('./index.js');
    terminate();
    await deviceInfo();
  });
  assert.deepEqual([...new Set(await version(page))], [2]);
  await other.close();

  // A model that changed is fetched again, one that did not is not.
  const weights = () => asked.filter((path) => path === '/place/site/model/model.safetensors').length;
  const tokenizer = () => asked.filter((path) => path === '/place/site/model/tokenizer.json').length;
  const [weightsBefore, before] = [weights(), tokenizer()];
  await page.reload();
  await answered(page);
  assert.deepEqual([weights(), tokenizer()], [weightsBefore, before]);
  appendFileSync(join(site, 'model/tokenizer.json'), '\n');
  manifest();
  await page.reload();
  await answered(page);
  assert.deepEqual([weights(), tokenizer()], [weightsBefore, before + 1]);

  await page.context().setOffline(true);
  await page.reload();
  assert.deepEqual(await version(page), [3, 3, 3], 'and without a network');
  await page.context().close();
});

test('a model elsewhere that changed is fetched again; without a network the kept one works', async () => {
  const folder = join(place, 'changing');
  cpSync(join(ROOT, 'tests/golden/sentence_transformers'), folder, { recursive: true });
  const page = await open();
  const load = () => page.evaluate(async (url) => (await (await w.pipeline('feature-extraction', url))('a text')).tolist()[0].slice(0, 4), `${BASE}place/changing/`);
  const count = () => asked.filter((path) => path === '/place/changing/model.safetensors').length;
  const first = await load();
  assert.deepEqual(await load(), first);
  assert.equal(count(), 1, 'it is kept');
  const path = join(folder, 'model.safetensors');
  const bytes = readFileSync(path);
  // Another weight of the same size: the file's length says nothing.
  const header = Number(bytes.readBigUInt64LE(0));
  for (let at = 8 + header; at + 4 <= bytes.length; at += 4) bytes.writeFloatLE(bytes.readFloatLE(at) * 0.9, at);
  await new Promise((done) => setTimeout(done, 20));
  writeFileSync(path, bytes);
  assert.notDeepEqual(await load(), first);
  assert.equal(count(), 2);
  await page.context().setOffline(true);
  assert.equal((await load()).length, 4);
  await page.context().close();
});

test('a download goes on where it broke, at once and at the next visit', async () => {
  const size = 20_000_000;
  const bytes = Buffer.alloc(size, (number) => number);
  for (let at = 0; at < size; at += 4) bytes.writeUInt32LE(at, at);
  const ranges = [];
  let broken = 3;
  let down = false;
  faults.set('/large.bin', (response, request) => {
    const start = Number(request.headers.range?.match(/=(\d+)-/)?.[1] ?? 0);
    ranges.push(start);
    if (down) return void response.destroy();
    response.writeHead(start ? 206 : 200, { etag: '"one"', 'content-length': size - start, ...(start ? { 'content-range': `bytes ${start}-${size - 1}/${size}` } : {}) });
    const until = broken-- > 0 ? Math.min(size, start + 6_000_000) : size;
    response.write(bytes.subarray(start, until), () => (until < size ? setTimeout(() => response.destroy(), 50) : response.end()));
    if (broken === 1) down = true;
  });
  const page = await open();
  const fetched = () =>
    page.evaluate(async (base) => {
      const { download } = await import('/lib/download.js');
      const told = [];
      try {
        const bytes = await download(base, 'large.bin', { report: (event) => told.push(event) });
        const words = new Uint32Array(bytes.buffer);
        return { right: words.length === 5_000_000 && words.every((word, i) => word === 4 * i), told: told.at(-1) };
      } catch (error) {
        return { error: { name: error.name, message: error.message } };
      }
    }, BASE);
  const first = await fetched();
  assert.equal(first.error?.name, 'DownloadError');
  assert.match(first.error.message, /of 20000000 bytes|could not be reached/);
  down = false;
  broken = 0;
  await page.reload();
  await page.evaluate(async () => (window.w = await import('/index.js')));
  const before = ranges.length;
  const second = await fetched();
  assert.ok(second.right, JSON.stringify(second));
  assert.ok(ranges[before] >= 8_000_000, `it went on from ${ranges[before]}`);
  assert.ok(ranges.slice(1, before).some((start) => start >= 5_000_000), `within the visit: ${ranges}`);
  faults.clear();
  await page.context().close();
});
