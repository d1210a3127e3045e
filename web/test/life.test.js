// Giving up, freeing and surviving: signals, dispose, and workers that end.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { GOLDEN, end, faults, open, thrown } from './setup.js';

after(end);

const FILE = '/golden/sentence_transformers/model.safetensors';
const SET = ['model.hidden_size=64', 'model.num_attention_heads=2', 'batch_sequences=8', 'micro_batch=8', 'warmup_steps=1', 'steps=40', 'checkpoint.every=5'];

test('an aborted download ends, at the server too, and the next works', async () => {
  const page = await open();
  let closed = false;
  const arrived = new Promise((resolve) =>
    faults.set(FILE, (response) => {
      response.writeHead(200, { 'content-length': 199176 });
      response.write('abc');
      response.on('close', () => (closed = true));
      resolve();
    }),
  );
  const error = thrown(page, async (url) => {
    window.stop = new AbortController();
    await w.pipeline('feature-extraction', url, { signal: window.stop.signal });
  }, GOLDEN);
  await arrived;
  await page.evaluate(() => window.stop.abort());
  assert.equal((await error).name, 'AbortError');
  // A browser may hold the line for five seconds, to see whether so little is left that it can be used again.
  for (let tries = 0; !closed && tries < 400; tries++) await new Promise((done) => setTimeout(done, 50));
  assert.ok(closed, 'the connection is closed');
  faults.clear();
  const late = await thrown(page, (url) => w.pipeline('attention', url, { signal: AbortSignal.abort() }), GOLDEN);
  assert.equal(late.name, 'AbortError');
  assert.deepEqual(await page.evaluate(async (url) => (await (await w.pipeline('feature-extraction', url))('a text')).dims, GOLDEN), [1, 40]);
  await page.context().close();
});

test('embedding and training are given up in the middle, and go on when asked again', async () => {
  const page = await open();
  const embedding = await page.evaluate(async (url) => {
    const texts = Array.from({ length: 20_000 }, (_, i) => `text number ${i} of many`);
    const embed = await w.pipeline('feature-extraction', url);
    const stop = new AbortController();
    let told = 0;
    const began = performance.now();
    const error = await embed(texts, { signal: stop.signal, progress_callback: ({ done }) => (told = done) && stop.abort() }).catch(({ name }) => name);
    const again = await embed(['one', 'two']);
    const parts = await embed(texts.slice(0, 600), { normalize: true });
    const alone = await embed([texts[599]], { normalize: true });
    return { error, told, seconds: (performance.now() - began) / 1000, dims: again.dims, parts: parts.dims, same: w.cosine(parts.tolist()[599], alone.data) };
  }, GOLDEN);
  assert.equal(embedding.error, 'AbortError');
  assert.ok(embedding.told > 0 && embedding.told < 5000, `${embedding.told} texts`);
  assert.deepEqual([embedding.dims, embedding.parts], [[2, 40], [600, 40]]);
  assert.ok(embedding.same > 0.9999, 'texts sent in parts are in their order');

  const training = await page.evaluate(async (set) => {
    const text = await w.generateText({ words: 30, documents: 60, seed: 3 });
    const preparing = await w.Trainer.create(text, { signal: AbortSignal.timeout(1), vocabulary: 256 }).catch(({ name }) => name);
    const trainer = await w.Trainer.create(text, { vocabulary: 256, seqLen: 32, join: false, heldOut: 8, set });
    const stop = new AbortController();
    let steps = 0;
    trainer.addEventListener('step', ({ detail }) => (steps = detail.row.step) === 3 && stop.abort());
    const error = await trainer.train({ signal: stop.signal }).catch(({ name }) => name);
    const after = steps;
    const summary = await trainer.train();
    await trainer.dispose();
    return { preparing, error, after, summary, later: await trainer.train().catch(({ name }) => name) };
  }, SET);
  assert.ok(['TimeoutError', 'AbortError'].includes(training.preparing), training.preparing);
  assert.equal(training.error, 'AbortError');
  assert.ok(training.after < 40 && training.summary.steps === 40);
  assert.equal(training.later, 'Disposed');
  await page.context().close();
});

test('dispose during a call gives it up and frees the memory', async () => {
  const page = await open();
  await page.evaluate(() => w.generateText({ documents: 1 }));
  const worker = page.workers()[0];
  await worker.evaluate(() => {
    const living = new Set();
    const create = GPUDevice.prototype.createBuffer;
    GPUDevice.prototype.createBuffer = function (what) {
      const buffer = create.call(this, what);
      living.add(buffer);
      return buffer;
    };
    const destroy = GPUBuffer.prototype.destroy;
    GPUBuffer.prototype.destroy = function () {
      living.delete(this);
      return destroy.call(this);
    };
    self.living = () => [...living].reduce((sum, { size }) => sum + size, 0);
  });
  const living = () => worker.evaluate(() => self.living());
  const during = (task, url) =>
    page.evaluate(async ([task, url]) => {
      const call = await w.pipeline(task, url);
      const running = call(task === 'attention' ? 'a text' : Array(5000).fill('a text')).catch(({ name }) => name);
      await call.dispose();
      return [await running, await call('again').catch(({ name }) => name)];
    }, [task, url]);
  await during('feature-extraction', GOLDEN);
  const before = await living();
  for (const task of ['feature-extraction', 'attention', 'feature-extraction']) {
    assert.deepEqual(await during(task, GOLDEN), ['Disposed', 'Disposed']);
    assert.equal(await living(), before, task);
  }
  const ended = await page.evaluate(async (set) => {
    const text = await w.generateText({ words: 30, documents: 60, seed: 3 });
    const trainer = await w.Trainer.create(text, { vocabulary: 256, seqLen: 32, join: false, heldOut: 8, set });
    const stepped = new Promise((done) => trainer.addEventListener('step', ({ detail }) => detail.row.step > 1 && done()));
    const running = trainer.train().catch(({ name }) => name);
    await stepped;
    await trainer.dispose();
    return running;
  }, SET);
  assert.equal(ended, 'Disposed');
  assert.equal(await living(), before, 'training');
  await page.context().close();
});

test('after terminate() or a crash the next call works, and several load the model once', async () => {
  const page = await open();
  await page.evaluate(async (url) => {
    window.embed = await w.pipeline('feature-extraction', url);
    window.look = await w.pipeline('attention', url);
  }, GOLDEN);
  const all = () =>
    page.evaluate(async () => {
      const [a, b, map] = await Promise.all([embed('a text'), embed(['b', 'c']), look('a text')]);
      return [...a.dims, ...b.dims, map.dims.length];
    });
  const right = [1, 40, 2, 40, 4];
  assert.deepEqual(await all(), right);
  const running = thrown(page, () => embed(Array(5000).fill('a text')));
  await page.evaluate(() => new Promise((done) => setTimeout(() => done(w.terminate()), 100)));
  assert.equal((await running).name, 'WorkerEnded');
  assert.deepEqual(await all(), right);
  for (let round = 0; round < 2; round++) {
    const ended = thrown(page, () => embed(Array(5000).fill('a text')));
    await page.workers()[0].evaluate(() => self.close());
    assert.equal((await ended).name, 'WorkerEnded');
    assert.deepEqual(await all(), right);
  }
  assert.equal(page.workers().length, 1);
  await page.context().close();
});

test('in the page only sentences that are new are embedded', async () => {
  const page = await open('index.html#search');
  await page.waitForSelector('#answers li', { timeout: 120_000 });
  const lines = (await page.inputValue('#sentences')).split('\n');
  const status = async (text) => {
    await page.fill('#sentences', text);
    await page.locator('#sentences').blur();
    await page.waitForFunction((count) => document.querySelector('#matrix canvas').dataset.count === String(count), Math.min(48, text.split('\n').length));
    return page.textContent('#embed-status');
  };
  assert.match(await status([...lines, 'A new one.'].join('\n')), /^1 sentence/);
  assert.match(await status(lines.slice(2).join('\n')), /^A question/);
  await page.context().close();
});
