// Models from files and URLs: vectors, faults of downloads, broken files.

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BASE, GOLDEN, ROOT, asked, end, faults, open, packed, place, thrown, wgrad } from './setup.js';

after(end);

const cosine = (a, b) => {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
};
const embed = async (url) => {
  const model = await w.pipeline('feature-extraction', url);
  return (await model(['a text', 'and another'])).dims;
};
const dims = (page) => page.evaluate(embed, GOLDEN);
const FILE = '/golden/sentence_transformers/model.safetensors';

/** The golden ids of all-MiniLM-L6-v2: a safetensors file of `starts` and `tokens`. */
function goldenIds() {
  const bytes = readFileSync(join(ROOT, 'tests/golden/minilm.safetensors'));
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + length));
  const read = (name) => {
    const [start, end] = header[name].data_offsets.map((offset) => 8 + length + offset);
    return Array.from({ length: (end - start) / 4 }, (_, i) => bytes.readInt32LE(start + 4 * i));
  };
  const [starts, tokens] = [read('starts'), read('tokens')];
  return starts.slice(0, -1).map((start, i) => tokens.slice(start, starts[i + 1]));
}

const skip = !process.env.CI && !existsSync(join(ROOT, 'data/minilm')) && 'no data/minilm: run scripts/fetch-minilm';

test('vectors of all-MiniLM-L6-v2 are the native ones', { skip }, async () => {
  const all = JSON.parse(readFileSync(join(ROOT, 'tests/golden/sentences.json'), 'utf8'));
  // The odd ones are the first: accents, CJK, emoji, several directions of writing.
  const texts = all.filter((text) => text.trim() && !/[\n\r\t]/.test(text)).slice(0, 50);
  assert.equal(texts.length, 50);
  writeFileSync(join(place, 'texts.jsonl'), texts.map((text) => JSON.stringify({ text })).join('\n'));
  const lines = wgrad('embed', '--model', join(ROOT, 'data/minilm'), '--input', 'texts.jsonl').trim().split('\n');
  const native = lines.map((line) => JSON.parse(line).embedding);

  const page = await open();
  const found = await page.evaluate(
    async ([url, texts, all]) => {
      const model = await w.pipeline('feature-extraction', url, { device: 'webgpu', dtype: 'fp32' });
      const vectors = await model(texts, { pooling: 'mean', normalize: true });
      const ids = await model.tokenize(all);
      const two = texts.slice(0, 2);
      const [prompted, written] = [await model(two, { prompt: 'query: ' }), await model(two.map((text) => `query: ${text}`))];
      const cut = await model(two, { dimensions: 64 });
      const several = await model(two, { pooling: ['cls', 'max'], normalize: false });
      const wrong = await model(two, { pooling: 'median' }).catch((error) => error.message);
      const unnamed = await model(two, { pooling: 'mean', prompt_name: 'query' }).catch((error) => error.message);
      const others = { prompted: prompted.tolist(), written: written.tolist(), cut: cut.tolist(), several: several.dims, wrong, unnamed };
      return { vectors: vectors.tolist(), dims: vectors.dims, ids, prompts: model.prompts, others };
    },
    [`${BASE}minilm/`, texts, all],
  );
  assert.deepEqual(found.dims, [50, 384]);
  assert.deepEqual(found.ids, goldenIds());
  const worst = Math.min(...found.vectors.map((vector, i) => cosine(vector, native[i])));
  console.log(`least cosine to the native vectors: ${worst}`);
  assert.ok(worst >= 0.9999);
  const { prompted, written, cut, several, wrong, unnamed } = found.others;
  assert.deepEqual(prompted, written);
  assert.ok(cosine(prompted[0], found.vectors[0]) < 0.9999);
  assert.equal(cut[1].length, 64);
  assert.ok(cosine(cut[1], found.vectors[1].slice(0, 64)) > 0.9999 && Math.abs(Math.hypot(...cut[1]) - 1) < 1e-5);
  assert.deepEqual(several, [2, 768]);
  assert.match(wrong, /pooling: expected `cls`.*median/);
  assert.match(unnamed, /the model has no prompts/);
  assert.deepEqual(found.prompts, {});
  await page.context().close();
});

test('attention is that of the program', async () => {
  const texts = ['the old cat is green .', 'A pair, first,', 'and then second.'];
  const page = await open();
  const found = await page.evaluate(
    async ([url, [alone, first, second]]) => {
      const look = await w.pipeline('attention', url);
      const maps = [await look(alone), await look(first, { pair: second })];
      const wrong = await look('').then(() => null, ({ name }) => name);
      return { wrong, maps: maps.map(({ dims, tokens, data, head }) => ({ dims, tokens, data: [...data], last: [...head(1, 1).data] })) };
    },
    [GOLDEN, texts],
  );
  assert.equal(found.wrong, 'ConfigError');
  for (const [map, args] of [[found.maps[0], texts.slice(0, 1)], [found.maps[1], texts.slice(1)]]) {
    wgrad('attention', '--model', join(ROOT, 'tests/golden/sentence_transformers'), ...args, '--out', 'map.json');
    const native = JSON.parse(readFileSync(join(place, 'map.json'), 'utf8'));
    assert.deepEqual(map.tokens.map(({ label, text, part }) => [label, text, part]), native.tokens.map(({ label, text, part }) => [label, text, part]));
    const flat = native.probabilities.flat(3);
    assert.equal(map.dims.reduce((a, b) => a * b), flat.length);
    const worst = Math.max(...flat.map((value, i) => Math.abs(value - map.data[i])));
    console.log(`attention differs by at most ${worst.toExponential(1)}`);
    assert.ok(worst < 1e-5);
    assert.deepEqual(map.last, map.data.slice(-map.last.length));
  }
  await page.context().close();
});

test('fault 47: what is no file of a model is not kept, and is asked for again', async () => {
  const page = await open();
  const answers = [
    [(response) => response.writeHead(404).end('none'), /no model.safetensors|answered 404/],
    [(response) => response.writeHead(503).end(), /answered 503/],
    [(response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><p>hello'), /web page|no model/],
    [(response) => { response.writeHead(200, { 'content-length': 199176 }); response.write('abc'); response.destroy(); }, /arrived|network|reached|error/i],
    [(response) => response.writeHead(200).end('<!doctype html><title>a page with the wrong type</title>'), /web page/],
  ];
  for (const [fault, message] of answers) {
    faults.set(FILE, fault);
    const error = await thrown(page, embed, GOLDEN);
    assert.match(error?.message ?? 'nothing was thrown', message);
    await page.evaluate(() => caches.delete('wgrad-models'));
  }
  faults.clear();
  assert.equal((await dims(page))[0], 2);
  await page.context().close();
});

test('a kept file whose bytes changed is fetched again', async () => {
  const page = await open();
  await dims(page);
  const before = asked.filter((path) => path === FILE).length;
  await page.evaluate(() => w.terminate());
  await dims(page);
  assert.equal(asked.filter((path) => path === FILE).length, before, 'the second time it was kept');
  await page.evaluate(async (url) => {
    const cache = await caches.open('wgrad-models');
    const kept = await cache.match(url);
    const bytes = new Uint8Array(await kept.arrayBuffer());
    bytes[bytes.length - 5] ^= 64;
    await cache.put(url, new Response(bytes, { headers: kept.headers }));
    w.terminate();
  }, `${GOLDEN}model.safetensors`);
  await dims(page);
  assert.equal(asked.filter((path) => path === FILE).length, before + 1);
  const wrong = await thrown(page, async (url) => {
    w.terminate();
    await w.pipeline('feature-extraction', url, { hashes: { 'config.json': '0'.repeat(64) } });
  }, GOLDEN);
  assert.match(wrong.message, /expected the SHA-256 000/);
  await page.context().close();
});

test('fault 46: with no room to keep files, work goes on in memory', async () => {
  const page = await open();
  const session = await page.context().newCDPSession(page);
  await session.send('Storage.overrideQuotaForOrigin', { origin: BASE, quotaSize: 1000 });
  const told = await page.evaluate(async (url) => {
    const warnings = [];
    const model = await w.pipeline('feature-extraction', url, {
      progress_callback: (event) => event.status === 'warning' && warnings.push(event.message),
    });
    return { warnings, dims: (await model('still here')).dims };
  }, GOLDEN);
  assert.ok(told.warnings.length > 0 && /not kept/.test(told.warnings[0]));
  assert.equal(told.dims[0], 1);
  await page.context().close();
});

test('fault 49: a worker that ends during loading fails the call, and the next call loads', async () => {
  const page = await open();
  let release;
  const arrived = new Promise((resolve) => {
    faults.set(FILE, (response) => {
      release = () => response.destroy();
      resolve();
    });
  });
  const error = thrown(page, embed, GOLDEN);
  await arrived;
  await page.workers()[0].evaluate(() => self.close());
  assert.equal((await error).name, 'WorkerEnded');
  release();
  faults.clear();
  assert.equal((await dims(page))[0], 2);
  await page.context().close();
});

test('broken and malicious files give errors, and the worker survives', async () => {
  const page = await open();
  const good = packed(join(ROOT, 'tests/golden/sentence_transformers'));
  const edit = (name, change) => good.map(([path, text]) => [path, path === name ? Buffer.from(change(Buffer.from(text, 'base64'))).toString('base64') : text]);
  const json = (change) => (bytes) => {
    const value = JSON.parse(bytes);
    change(value);
    return JSON.stringify(value);
  };
  const broken = [
    ['a truncated file', edit('model.safetensors', (bytes) => bytes.subarray(0, 5000))],
    ['a header of 2^60 bytes', edit('model.safetensors', (bytes) => Buffer.concat([Buffer.from('0000000000000010', 'hex'), bytes]))],
    ['NaN weights', edit('model.safetensors', (bytes) => { const middle = bytes.length >> 1; bytes.fill(0xff, middle, middle + 4000); return bytes; })],
    ['no heads', edit('config.json', json((config) => (config.num_attention_heads = 0)))],
    ['another width', edit('config.json', json((config) => (config.hidden_size *= 2)))],
    ['a vocabulary of 2^31', edit('config.json', json((config) => (config.vocab_size = 2 ** 31)))],
    ['a tokenizer that is a page', edit('tokenizer.json', () => '<html>')],
    ['ids twice', edit('tokenizer.json', json((file) => Object.keys(file.model.vocab).forEach((token) => (file.model.vocab[token] = 1))))],
    ['a pattern without end', edit('tokenizer.json', json((file) => (file.pre_tokenizer = { type: 'Split', pattern: { Regex: '(?=a)(' }, behavior: 'Removed', invert: false })))],
    ['a path out of the folder', edit('modules.json', json((modules) => (modules[1].path = '../../etc')))],
    ['no config', good.filter(([path]) => path !== 'config.json' && path !== 'modules.json')],
  ];
  for (const [what, files] of broken) {
    const error = await thrown(page, async (list) => {
      const model = await w.pipeline('feature-extraction', toFiles(list));
      await model(['a text']);
    }, files);
    assert.ok(error && error.message.length > 10 && !/unreachable|RuntimeError/.test(error.message), `${what}: ${JSON.stringify(error)}`);
  }
  const dims = await page.evaluate(async (list) => {
    const model = await w.pipeline('feature-extraction', toFiles(list));
    return (await model(['a text'])).dims;
  }, good);
  assert.equal(dims[0], 1);
  await page.context().close();
});
