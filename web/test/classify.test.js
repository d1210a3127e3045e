// Classifying in a page: what the program says, and the card of the page.

import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BASE, GOLDEN, ROOT, asked, end, open, packed, place, thrown, wgrad } from './setup.js';

after(end);

const FOLDER = (name) => join(ROOT, 'tests/golden/cross_encoders', name);
const ADDRESS = (name) => `${BASE}golden/cross_encoders/${name}/`;

test('classes and numbers are those of the program', async () => {
  const all = JSON.parse(readFileSync(join(ROOT, 'tests/golden/sentences.json'), 'utf8'));
  // Some are longer than the models see; one has no words.
  const texts = [' ', ...all.filter((text) => text.trim()).filter((_, i) => i % 7 === 0)];
  writeFileSync(join(place, 'classified.jsonl'), texts.map((text) => JSON.stringify({ text })).join('\n'));
  const page = await open();
  let worst = 0;
  for (const name of ['bert_two', 'bert']) {
    const lines = wgrad('predict', '--model', FOLDER(name), '--input', 'classified.jsonl', '--json', '--precision', 'f32').trim().split('\n');
    const native = lines.map((line) => JSON.parse(line));
    const found = await page.evaluate(
      async ([url, texts]) => {
        const classify = await w.pipeline('text-classification', url);
        const whole = await classify(texts, { top_k: null });
        const one = await classify(texts[1], { top_k: 5 });
        const best = [await classify(texts[1]), await classify(texts)].map((list) => list.map(({ label }) => label));
        const none = await classify([]);
        const { truncated } = whole;
        await classify.dispose();
        return { whole: whole.map((list) => [...list]), truncated, one, best, none: none.length, labels: classify.labels };
      },
      [ADDRESS(name), texts],
    );
    assert.deepEqual(found.labels, name === 'bert' ? ['LABEL_0'] : ['LABEL_0', 'LABEL_1']);
    assert.equal(found.truncated, native.filter(({ truncated }) => truncated > 0).length);
    assert.ok(found.truncated > 0 && found.truncated < texts.length);
    native.forEach(({ label, score, probabilities }, i) => {
      const scores = found.whole[i];
      assert.equal(scores.length, found.labels.length);
      if (label) assert.equal(scores[0].label, label);
      worst = Math.max(worst, Math.abs(scores[0].score - score));
      for (const [name, share] of Object.entries(probabilities ?? {})) {
        worst = Math.max(worst, Math.abs(scores.find(({ label }) => label === name).score - share));
      }
    });
    assert.deepEqual(found.one, found.whole[1]);
    assert.deepEqual(found.best[0], [found.whole[1][0].label]);
    assert.deepEqual(found.best[1], found.whole.map(([{ label }]) => label));
    assert.equal(found.none, 0);
  }
  console.log(`scores differ from the program's by at most ${worst.toExponential(1)}`);
  assert.ok(worst < 1e-5);
  // A model that has no such head says so, and one that has is an embedder too.
  const error = await thrown(page, (url) => w.pipeline('text-classification', url), GOLDEN);
  assert.deepEqual([error.name, /a model with a head that classifies texts/.test(error.message)], ['ConfigError', true]);
  const [labels, width] = await page.evaluate(async (url) => {
    const embed = await w.pipeline('feature-extraction', url);
    return [embed.labels, (await embed('a text')).dims[1]];
  }, ADDRESS('bert_two'));
  assert.deepEqual([labels, width], [['LABEL_0', 'LABEL_1'], 24]);
  await page.context().close();
});

test('pairs of texts are classified as by the program', async () => {
  const pairs = [['the cat sat on the mat', 'a cat sits'], ['how do I water basil', 'plants need water. '.repeat(40)], ['one alone', null]];
  writeFileSync(join(place, 'pairs.jsonl'), pairs.slice(0, 2).map(([text, pair]) => JSON.stringify({ text, pair })).join('\n'));
  const native = wgrad('predict', '--model', FOLDER('bert_two'), '--input', 'pairs.jsonl', '--text-column', 'text', '--pair-column', 'pair', '--json', '--precision', 'f32').trim().split('\n').map((line) => JSON.parse(line));
  const page = await open();
  const found = await page.evaluate(async ([url, pairs]) => {
    const classify = await w.pipeline('text-classification', url);
    const texts = pairs.map(([text, text_pair]) => ({ text, text_pair }));
    const list = await classify(texts, { top_k: null });
    const swapped = await classify({ text: pairs[0][1], text_pair: pairs[0][0] }, { top_k: null });
    const alone = await classify('one alone', { top_k: null });
    return { list: list.map((one) => [...one]), truncated: list.truncated, swapped: [...swapped], alone: [...alone], wrong: await classify({ text: 5 }).catch(({ message }) => message) };
  }, [ADDRESS('bert_two'), pairs]);
  native.forEach(({ label, score }, i) => {
    assert.equal(found.list[i][0].label, label);
    assert.ok(Math.abs(found.list[i][0].score - score) < 1e-5);
  });
  assert.equal(found.truncated, 1);
  assert.notDeepEqual(found.swapped, found.list[0], 'the order counts');
  assert.deepEqual(found.alone, found.list[2]);
  assert.match(found.wrong, /^text: expected a text, found number/);
  await page.context().close();
});

test('a head is asked beside the embedder of its folder, with the same weights', async () => {
  const page = await open();
  await page.evaluate(() => w.generateText({ documents: 1 }));
  const worker = page.workers()[0];
  await worker.evaluate(() => {
    self.made = 0;
    const create = GPUDevice.prototype.createBuffer;
    GPUDevice.prototype.createBuffer = function (what) {
      self.made += what.size;
      return create.call(this, what);
    };
  });
  const made = () => worker.evaluate(() => self.made);
  const before = asked.length;
  await page.evaluate(async (url) => (window.embed = await w.pipeline('feature-extraction', url)), ADDRESS('bert_two'));
  const [weights, files] = [await made(), asked.length];
  assert.ok(weights > 10_000 && files > before);
  await page.evaluate(async () => (window.classify = await w.pipeline('text-classification', embed)));
  assert.equal(await made(), weights, 'no buffer is made');
  assert.equal(asked.length, files, 'and nothing is fetched');
  const [beside, alone, after] = await page.evaluate(async (url) => {
    const texts = ['a text', 'another one'];
    const scores = async (call) => (await call(texts, { top_k: null })).map((list) => list.map(({ score }) => score));
    const beside = await scores(classify);
    await embed.dispose();
    const after = await scores(classify);
    const alone = await w.pipeline('text-classification', url);
    return [beside, await scores(alone), after];
  }, ADDRESS('bert_two'));
  assert.deepEqual(beside, alone);
  assert.deepEqual(after, beside, 'it lives on without the embedder');
  // With the worker the weights are gone, and the embedder that would load them is too.
  const reloaded = await page.evaluate(async () => {
    w.terminate();
    return (await classify(['a text', 'another one'], { top_k: null })).map((list) => list.map(({ score }) => score));
  });
  assert.deepEqual(reloaded, beside);
  const gone = await thrown(page, () => w.pipeline('text-classification', embed));
  assert.equal(gone.name, 'Disposed');
  // What is said where a model is loaded cannot be said beside it, and is not passed over in silence.
  for (const [name, value] of Object.entries({ dtype: 'fp16', verify: true, kind: 'plain', hashes: {}, revision: 'main', token: 'hf_secret' })) {
    const error = await thrown(page, ([name, value]) => w.pipeline('text-classification', classify, { [name]: value }), [name, value]);
    assert.deepEqual([error?.name, error?.message.startsWith(`${name}: expected none`), error?.message.includes('secret')], ['ConfigError', true, false], name);
  }
  await page.context().close();
});

test('a head is opened beside an embedder whose device was lost', async () => {
  const page = await open();
  await page.evaluate(() => w.generateText({ documents: 1 }));
  await page.workers()[0].evaluate(() => {
    self.devices = [];
    const request = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (what) {
      const device = await request.call(this, what);
      self.devices.push(device);
      return device;
    };
  });
  await page.evaluate(async (url) => (window.embed = await w.pipeline('feature-extraction', url)), ADDRESS('bert_two'));
  await page.workers()[0].evaluate(async () => {
    self.devices.at(-1).destroy();
    await self.devices.at(-1).lost;
  });
  const [beside, alone] = await page.evaluate(async (url) => {
    // Another model has the device opened again, where the embedder's weights are not.
    const alone = await w.pipeline('text-classification', url);
    const beside = await w.pipeline('text-classification', embed);
    return [await beside('a text', { top_k: null }), await alone('a text', { top_k: null })];
  }, ADDRESS('bert_two'));
  assert.deepEqual(beside, alone);
  assert.equal(await page.workers()[0].evaluate(() => self.devices.length), 2);
  await page.context().close();
});

test('an encoder whose config names a classifier makes vectors without its head', async () => {
  cpSync(FOLDER('bert_two'), join(place, 'headless'), { recursive: true });
  const path = join(place, 'headless/model.safetensors');
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const tensors = Object.entries(JSON.parse(bytes.subarray(8, start))).filter(([name]) => name !== '__metadata__');
  const left = tensors.filter(([name]) => !name.startsWith('classifier.'));
  assert.ok(left.length < tensors.length);
  const [header, data] = [{}, []];
  let at = 0;
  for (const [name, { data_offsets: [from, to], ...tensor }] of left) {
    header[name] = { ...tensor, data_offsets: [at, (at += to - from)] };
    data.push(bytes.subarray(start + from, start + to));
  }
  const json = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  writeFileSync(path, Buffer.concat([size, json, ...data]));
  const page = await open();
  const [labels, same] = await page.evaluate(async ([url, whole]) => {
    const vector = async (call) => (await call('a text')).tolist()[0].join();
    window.embed = await w.pipeline('feature-extraction', url);
    return [embed.labels, (await vector(embed)) === (await vector(await w.pipeline('feature-extraction', whole)))];
  }, [`${BASE}place/headless/`, ADDRESS('bert_two')]);
  assert.deepEqual([labels, same], [[], true]);
  assert.match((await thrown(page, () => w.pipeline('text-classification', embed))).message, /a model with a head that classifies texts/);
  await page.context().close();
});

test('entities are those of the program, and stand where they say', async () => {
  const golden = JSON.parse(readFileSync(join(ROOT, 'tests/golden/token_pipeline/found.json'), 'utf8'));
  const page = await open();
  for (const name of ['bert', 'roberta']) {
    // A character that JavaScript counts as two moves what comes after it.
    const texts = [...golden[name].map(({ text }) => text), `\u{1f600} ${golden[name][0].text}`, ''];
    writeFileSync(join(place, 'tagged.jsonl'), texts.map((text) => JSON.stringify({ text })).join('\n'));
    const folder = join(ROOT, 'tests/golden/token_pipeline', name);
    const lines = wgrad('predict', '--model', folder, '--input', 'tagged.jsonl', '--json', '--precision', 'f32').trim().split('\n');
    const native = lines.map((line) => JSON.parse(line).entities);
    assert.ok(native.flat().length > 3);
    const [found, one, none] = await page.evaluate(
      async ([url, texts]) => {
        const tag = await w.pipeline('token-classification', url);
        const found = [(await tag(texts)).map((list) => [...list]), [...(await tag(texts[0]))], [...(await tag([]))]];
        await tag.dispose();
        return found;
      },
      [`${BASE}golden/token_pipeline/${name}/`, texts],
    );
    assert.deepEqual([one, none], [found[0], []]);
    native.forEach((entities, i) => {
      assert.deepEqual(found[i].map(({ entity_group, word }) => [entity_group, word]), entities.map(({ label, text }) => [label, text]));
      for (const [at, { word, score, start, end }] of found[i].entries()) {
        assert.equal(texts[i].slice(start, end), word);
        assert.ok(Math.abs(score - entities[at].score) < 1e-5);
      }
    });
  }
  const error = await thrown(page, (url) => w.pipeline('token-classification', url), GOLDEN);
  assert.deepEqual([error.name, /a model that labels words/.test(error.message)], ['ConfigError', true]);
  await page.context().close();
});

test('a model that labels words marks them in the page', async () => {
  const page = await open(`index.html?model=${encodeURIComponent(`${BASE}golden/token_pipeline/bert/`)}#search`);
  await page.waitForSelector('#classes mark', { timeout: 60_000 });
  assert.match(await page.textContent('#classes h2'), /labels words/);
  const asked = await page.inputValue('#classified');
  const text = await page.evaluate(() => {
    const copy = document.querySelector('#class-answers span').cloneNode(true);
    copy.querySelectorAll('small').forEach((small) => small.remove());
    return copy.textContent;
  });
  assert.equal(text, asked);
  await page.context().close();
});

test('a model with classes brings its card to the page', async () => {
  const page = await open(`index.html?model=${encodeURIComponent(ADDRESS('bert_two'))}#search`);
  await page.waitForFunction(() => document.querySelectorAll('#class-answers li').length === 2, null, { timeout: 60_000 });
  const first = await page.textContent('#class-answers');
  assert.ok(await page.isVisible('#classes'));
  await page.fill('#classified', 'the cat crossed the old bridge');
  await page.press('#classified', 'Enter');
  await page.waitForFunction((first) => document.querySelector('#class-answers').textContent !== first, first);
  // A model without classes takes the card away; one that is dropped brings it again.
  await page.fill('#search-model input.address', GOLDEN);
  await page.click('#search-model button:text("Load")');
  await page.waitForSelector('#classes', { state: 'hidden' });
  await page.evaluate((files) => {
    const transfer = new DataTransfer();
    for (const [path, text] of files) transfer.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], path));
    const input = document.querySelector('#search-model input[type=file]');
    Object.defineProperty(input, 'files', { value: transfer.files, configurable: true });
    input.dispatchEvent(new Event('change'));
  }, packed(FOLDER('bert_two')));
  await page.waitForSelector('#classes', { state: 'visible' });
  await page.waitForFunction(() => document.querySelectorAll('#class-answers li').length === 2);
  await page.context().close();
});
