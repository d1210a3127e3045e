// Memory of the adapter: what is disposed of is given back at once, not when JavaScript collects its garbage.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { GOLDEN, end, open } from './setup.js';

after(end);

/** Has the worker count the bytes of buffers and textures that were created and not destroyed. */
function count() {
  const living = new Map();
  const [device, texel] = [GPUDevice.prototype, { rgba32float: 16, rgba16float: 8 }];
  for (const [create, kind, bytes] of [
    ['createBuffer', GPUBuffer, ({ size }) => size],
    ['createTexture', GPUTexture, ({ width, height, format }) => width * height * (texel[format] ?? 16)],
  ]) {
    const [made, destroy] = [device[create], kind.prototype.destroy];
    device[create] = function (...args) {
      const one = made.apply(this, args);
      living.set(one, bytes(one));
      return one;
    };
    kind.prototype.destroy = function () {
      living.delete(this);
      return destroy.call(this);
    };
  }
  // The map keeps all of them alive, so that no collection of garbage can take part.
  self.living = () => [...living.values()].reduce((sum, bytes) => sum + bytes, 0);
}

test('memory of models and runs that were disposed of is given back', async () => {
  const page = await open();
  await page.evaluate(() => w.generateText({ documents: 1 }));
  const worker = page.workers()[0];
  await worker.evaluate(count);
  const living = () => worker.evaluate(() => self.living());
  const uses = {
    'feature-extraction': async (url) => {
      window.held = await w.pipeline('feature-extraction', url);
      await held(['a text', 'and a longer one, which is recorded by itself']);
    },
    attention: async (url) => {
      window.held = await w.pipeline('attention', url);
      await held('a text');
    },
    training: async () => {
      const set = ['model.hidden_size=64', 'model.num_attention_heads=2', 'batch_sequences=8', 'micro_batch=8', 'warmup_steps=1', 'steps=2'];
      const text = await w.generateText({ words: 30, documents: 60, seed: 3 });
      window.held = await w.Trainer.create(text, { vocabulary: 256, seqLen: 32, join: false, heldOut: 8, set });
      await held.train();
      await held.fillMask('the old [MASK] was green .');
    },
  };
  // The device has buffers of its own, to measure its speed by.
  await page.evaluate(uses['feature-extraction'], GOLDEN);
  await page.evaluate(() => held.dispose());
  const before = await living();
  for (const [name, use] of Object.entries(uses)) {
    await page.evaluate(use, GOLDEN);
    const used = (await living()) - before;
    await page.evaluate(() => held.dispose());
    const left = (await living()) - before;
    console.log(`${name}: ${used} bytes while it was there, ${left} after`);
    assert.ok(used > 10_000, 'it was counted');
    assert.equal(left, 0);
  }
  await page.context().close();
});
