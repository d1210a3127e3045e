// Models by the names that people type, and settings that people leave alone: what is right works, what is wrong is told.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BASE, GOLDEN, ROOT, asked, end, faults, open, packed, place, thrown } from './setup.js';

after(end);

const golden = join(ROOT, 'tests/golden/sentence_transformers');
for (const revision of ['main', 'v1']) cpSync(golden, join(place, `hub/some/model/resolve/${revision}`), { recursive: true });
cpSync(golden, join(place, 'plain/model'), { recursive: true });
execFileSync('python3', ['-c', 'import shutil, sys; shutil.make_archive(sys.argv[1], "zip", sys.argv[2], "model")', join(place, 'plain/packed'), join(place, 'plain')]);

test('names, mirrors, revisions and tokens of Hugging Face', async () => {
  const page = await open();
  const load = (model, options) =>
    page.evaluate(async ([base, model, options]) => {
      w.env.remoteHost = `${base}place/hub`;
      return (await (await w.pipeline('feature-extraction', model, options))('a text')).dims;
    }, [BASE, model, options]);
  const from = (start) => asked.some((path) => path.startsWith(`/place/hub/some/model/resolve/${start}/`));
  assert.deepEqual(await load('some/model'), [1, 40]);
  assert.ok(from('main') && !from('v1'));
  assert.deepEqual(await load(' some/model ', { revision: 'v1' }), [1, 40]);
  assert.ok(from('v1'));

  // One that wants a token, which no other host gets.
  const seen = [];
  const path = '/place/hub/some/model/resolve/closed/config.json';
  faults.set(path, (response, { headers }) => {
    seen.push(headers.authorization);
    response.writeHead(401).end();
  });
  const refused = await thrown(page, ([options]) => w.pipeline('attention', 'some/model', options), [{ revision: 'closed', token: 'hf_secret' }]);
  assert.match(refused.message, /401: it wants a token/);
  const elsewhere = '/golden/other/config.json';
  faults.set(elsewhere, (response, { headers }) => {
    seen.push(headers.authorization);
    response.writeHead(404).end();
  });
  await thrown(page, async ([base]) => {
    w.env.remoteHost = 'https://huggingface.co';
    await w.pipeline('attention', `${base}golden/other`, { token: 'hf_secret' });
  }, [BASE]);
  assert.deepEqual(seen, ['Bearer hf_secret', undefined]);
  // The address of a model's page is as good as its name.
  const addresses = await page.evaluate(async () => {
    const { addressOf } = await import('/lib/address.js');
    return ['https://huggingface.co/a/b', 'https://huggingface.co/a/b/tree/v2', 'bert-base-uncased', 'a/b', './a/b', 'a/b/', '/x', 'http://localhost:1/x?y#z'].map((one) => addressOf(one));
  });
  assert.deepEqual(addresses, [
    'https://huggingface.co/a/b/resolve/main/', 'https://huggingface.co/a/b/resolve/v2/', 'https://huggingface.co/bert-base-uncased/resolve/main/',
    'https://huggingface.co/a/b/resolve/main/', `${BASE}test/a/b/`, `${BASE}test/a/b/`, `${BASE}x/`, 'http://localhost:1/x/?y',
  ]);
  faults.clear();
  await page.context().close();
});

test('relative addresses, archives and files in every form, and a fetch of the page’s own', async () => {
  const page = await open();
  const found = await page.evaluate(async ([list, zipUrl]) => {
    const works = async (model) => (await (await w.pipeline('feature-extraction', model))('a text')).dims[1];
    const widths = [await works('../place/plain/model'), await works('/place/plain/model/'), await works('/place/plain/packed.zip')];
    const files = toFiles(list);
    const archive = new File([await (await fetch(zipUrl)).blob()], 'mine.zip');
    const plain = files.map(([path, bytes]) => new File([bytes], path));
    widths.push(await works(files), await works(archive), await works(Object.fromEntries(files)), await works(plain));
    const root = await navigator.storage.getDirectory();
    for (const [path, bytes] of files) {
      const parts = path.split('/');
      let at = root;
      for (const part of parts.slice(0, -1)) at = await at.getDirectoryHandle(part, { create: true });
      const writable = await (await at.getFileHandle(parts.at(-1), { create: true })).createWritable();
      await writable.write(bytes);
      await writable.close();
    }
    widths.push(await works(root));
    w.env.base = new URL('/place/', location.href).href;
    w.env.cache = 'another';
    const fetched = [];
    w.env.fetch = (url, init) => {
      fetched.push(new URL(url).pathname);
      return fetch(url, init);
    };
    const sums = [];
    const model = await w.pipeline('feature-extraction', './plain/model', { progress_callback: (event) => event.status === 'progress_total' && sums.push(event) });
    widths.push((await model('a text')).dims[1]);
    return { widths, fetched, sums, kept: (await (await caches.open('another')).keys()).length };
  }, [packed(golden), `${BASE}place/plain/packed.zip`]);
  assert.deepEqual(found.widths, Array(9).fill(40));
  assert.ok(found.fetched.includes('/place/plain/model/model.safetensors'));
  assert.ok(found.kept > 4);
  // The sum over all files.
  const bytes = packed(golden).reduce((sum, [path, text]) => sum + (/reference/.test(path) ? 0 : Buffer.from(text, 'base64').length), 0);
  const last = found.sums.at(-1);
  assert.deepEqual([last.loaded, last.total, last.progress], [bytes, bytes, 100]);
  await page.context().close();
});

test('what is no model is told in words, and nothing else breaks', async () => {
  const page = await open();
  const wrong = ['http://[', '', '   ', 'ftp://a/b', 'javascript:alert(1)', 'about:blank', 5, null, {}, [], [1], `${BASE}nothing/here`, './%', 'a\nb', 'http://localhost:1/closed'];
  for (const model of wrong) {
    const error = await thrown(page, (model) => w.pipeline('feature-extraction', model), model);
    assert.ok(['ConfigError', 'DownloadError', 'FileError'].includes(error?.name), `${JSON.stringify(model)}: ${JSON.stringify(error)}`);
    assert.ok(error.message.length > 30 && !/Failed to construct|undefined|is not a function/.test(error.message), error.message);
  }
  for (const [work, name] of [
    [async ([url]) => (await w.pipeline('feature-extraction', url))([5]), 'ConfigError'],
    [async ([url]) => (await w.pipeline('attention', url))(undefined), 'ConfigError'],
    [async ([url]) => w.pipeline('feature-extraction', url, { hashes: () => {} }), 'ConfigError'],
    [async () => w.pipeline('constructor', 'a/b'), 'ConfigError'],
  ]) {
    assert.equal((await thrown(page, work, [GOLDEN]))?.name, name, work.toString());
  }
  await page.context().close();

  const room = await open(`index.html?model=${encodeURIComponent('http://[')}#search`);
  await room.waitForSelector('#search-model .hint.bad');
  assert.match(await room.textContent('#search-model .hint.bad'), /expected a name such as .* found “http:\/\/\[”/);
  await room.click('#search-model label:has(input[value=shipped])');
  await room.waitForSelector('#answers li', { timeout: 60_000 });
  // Several models of one's own, one after the other.
  await room.click('#search-model label:has(input[value=own])');
  for (const address of [GOLDEN, '/place/plain/model']) {
    await room.fill('#search-model .address', address);
    await room.press('#search-model .address', 'Enter');
    await room.waitForFunction((address) => document.querySelector('#search-model').dataset.state === 'ready' && document.querySelector('#search-model .about').textContent === address, address);
  }
  await room.context().close();
});

test('small texts and short runs train; settings that cannot be are refused by name', async () => {
  const page = await open();
  const SMALL = ['model.hidden_size=32', 'model.num_attention_heads=2', 'model.intermediate_size=64', 'model.num_hidden_layers=1'];
  const run = (text, options) =>
    page.evaluate(async ([text, options]) => {
      const trainer = await w.Trainer.create(text, { ...options, progress_callback: () => {} });
      const { steps } = await trainer.train();
      await trainer.dispose();
      return steps;
    }, [text, options]);
  assert.equal(await run('ab', { steps: 3, set: SMALL }), 3);
  assert.equal(await run('a few words of text, and no more', { steps: 50, set: SMALL }), 50);
  assert.equal(await run(`${'some words in a line\n'.repeat(300)}`, { steps: 2, batch: 4, set: SMALL }), 2);
  for (const [options, what] of [
    [{ vocabulary: 1e9 }, /vocabulary: expected a whole number from 256 to 65536, found 1000000000/],
    [{ vocabulary: 'many' }, /vocabulary/], [{ seqLen: 1e9 }, /seqLen/], [{ steps: 0 }, /steps/], [{ steps: 1.5 }, /steps/],
    [{ preset: 'huge' }, /preset/], [{ heldOut: -1 }, /heldOut/], [{ documents: 'page' }, /documents/], [{ set: ['no_such_key=1'] }, /no_such_key/],
  ]) {
    const error = await thrown(page, async ([options]) => (await w.Trainer.create('some text to learn from', options)).train(), [options]);
    assert.equal(error?.name, 'ConfigError', JSON.stringify([options, error]));
    assert.match(error.message, what);
  }
  for (const text of ['', '  \n ']) {
    const error = await thrown(page, ([text]) => w.Trainer.create(text), [text]);
    assert.match(error?.message ?? '', /expected at least one word|expected text/, JSON.stringify(error));
  }
  assert.equal(await run('ab', { steps: 1, set: SMALL }), 1, 'the worker is as good as before');
  await page.context().close();
});
