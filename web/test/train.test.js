// Training in the page against the native program.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { end, open, packed, place, unpack, wgrad } from './setup.js';

const STEPS = 30;
const SET = [
  'model.hidden_size=64', 'model.num_attention_heads=2', 'model.intermediate_size=128', 'model.num_hidden_layers=2',
  'batch_sequences=8', 'micro_batch=8', 'warmup_steps=5', 'schedule=linear', `steps=${STEPS}`, 'seed=7',
  'evaluate.every=10', 'evaluate.sequences=16', 'checkpoint.every=10', 'checkpoint.keep=9', 'checkpoint.minutes=0',
];
const at = (name) => join(place, name);
const sets = SET.flatMap((assignment) => ['--set', assignment]);

const rows = (folder) =>
  readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line)).filter(({ step }) => step > 0);

/** The largest difference of the losses of the same steps. */
function apart(found, expected) {
  assert.deepEqual(found.map(({ step }) => step), expected.map(({ step }) => step));
  return Math.max(...found.map((row, i) => Math.abs(row.loss - expected[i].loss)));
}

let page;
let native;

before(async () => {
  page = await open();
  const text = await page.evaluate(() => w.generateText({ words: 30, documents: 400, seed: 3 }));
  writeFileSync(at('text.txt'), text);
  wgrad('tokenizer', 'train', 'text.txt', '--vocab-size', '512', '--out', 'tok');
  wgrad('data', 'prepare', 'text.txt', '--tokenizer', 'tok', '--seq-len', '32', '--held-out', '16', '--out', 'data');
  wgrad('pretrain', '--preset', 'micro', '--data', 'data', '--out', 'native', ...sets);
  native = rows(at('native'));
});
after(end);

test('30 steps in the page follow the native ones', async () => {
  const result = await page.evaluate(
    async ([text, set]) => {
      const trainer = await w.Trainer.create(text, { vocabulary: 512, seqLen: 32, join: false, heldOut: 16, set });
      const seen = [];
      trainer.addEventListener('step', ({ detail }) => seen.push(detail.row));
      const summary = await trainer.train();
      const files = await fromFiles(await trainer.files());
      return { seen: seen.filter(({ step }) => step > 0), summary, files };
    },
    [readFileSync(at('text.txt'), 'utf8'), SET],
  );
  const difference = apart(result.seen, native);
  console.log(`losses differ by at most ${difference.toExponential(1)} nats`);
  assert.ok(difference < 1e-3, `${difference}`);
  assert.ok(native.at(-1).loss < native[0].loss - 0.3, 'there was something to learn');
  assert.equal(result.summary.steps, STEPS);

  // The page's vocabulary and data are the program's, to the byte.
  unpack(result.files, at('page'));
  for (const name of readdirSync(at('data'))) {
    assert.ok(readFileSync(join(at('data'), name)).equals(readFileSync(join(at('page/data'), name))), name);
  }
  // What the page made is a model to the program.
  const filled = JSON.parse(wgrad('fill-mask', '--model', 'page', '--json', 'the old [MASK] was green .'));
  assert.equal(filled.masks.length, 1);
});

test('a checkpoint goes from the program to the page and back', async () => {
  const moved = at('moved');
  mkdirSync(moved);
  cpSync(at('native'), moved, { recursive: true });
  for (const step of ['20', '30']) rmSync(join(moved, `checkpoints/step-000000${step}`), { recursive: true });
  cpSync(at('data'), join(moved, 'data'), { recursive: true });
  const result = await page.evaluate(async (list) => {
    const trainer = await w.Trainer.resume(toFiles(list).map(([path, bytes]) => [`moved/${path}`, bytes]));
    const guess = await trainer.fillMask('the old [MASK] was green .');
    const steps = [];
    let ready;
    trainer.addEventListener('ready', ({ detail }) => (ready = detail.step));
    trainer.addEventListener('step', ({ detail }) => {
      steps.push(detail.row);
      if (detail.row.step === 19) trainer.pause();
    });
    const summary = await trainer.train();
    return { ready, steps, summary, guesses: guess.masks.length, files: await fromFiles(await trainer.files()) };
  }, packed(moved));
  assert.equal(result.ready, 10);
  assert.equal(result.guesses, 1);
  assert.ok(result.summary.interrupted);
  assert.ok(apart(result.steps, native.slice(10, result.summary.steps)) < 1e-3);

  rmSync(moved, { recursive: true });
  unpack(result.files, moved);
  wgrad('pretrain', '--resume', '--data', 'moved/data', '--out', 'moved');
  const difference = apart(rows(moved), native);
  console.log(`after native, page, native: at most ${difference.toExponential(1)} nats`);
  assert.ok(difference < 1e-3);
});

test('a run begun in the page goes to the computer, back to the page and again to the computer', async () => {
  const text = readFileSync(at('text.txt'), 'utf8');
  const begun = await page.evaluate(
    async ([text, set]) => {
      const trainer = await w.Trainer.create(text, { vocabulary: 512, seqLen: 32, join: false, heldOut: 16, set });
      trainer.addEventListener('step', ({ detail: { row } }) => row.step === 9 && trainer.pause());
      const summary = await trainer.train();
      const bytes = new Uint8Array(await (await trainer.zip('wgrad-run')).arrayBuffer());
      await trainer.dispose();
      return { step: summary.steps, ...(await fromFiles([['run.zip', bytes]]))[0] };
    },
    [text, SET],
  );
  assert.ok(begun.step < 12, `paused at ${begun.step}`);
  // Unpacked by another program than the one that packed it, and gone on with by the command that the page names.
  writeFileSync(at('run.zip'), Buffer.from(begun[1], 'base64'));
  execFileSync('python3', ['-m', 'zipfile', '-e', at('run.zip'), place]);
  const folder = at('wgrad-run');
  const recipe = () => JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8'));
  assert.equal(recipe().precision, 'f32', 'what computes is decided and stored');
  const goOn = () => wgrad('pretrain', '--resume', '--data', 'wgrad-run/data', '--out', 'wgrad-run');
  goOn();
  assert.ok(apart(rows(folder), native) < 1e-3);

  // As a kill after step 20 leaves it: rows of steps that no checkpoint has.
  rmSync(join(folder, 'checkpoints/step-00000030'), { recursive: true });
  const back = await page.evaluate(async (list) => {
    const trainer = await w.Trainer.resume(toFiles(list));
    const { done, totalSteps, rows } = trainer;
    trainer.addEventListener('step', ({ detail: { row } }) => row.step === 24 && trainer.pause());
    const summary = await trainer.train();
    return { done, totalSteps, last: rows.at(-1).step, step: summary.steps, files: await fromFiles(await trainer.files()) };
  }, packed(folder));
  assert.deepEqual([back.done, back.totalSteps, back.last], [20, STEPS, 20]);
  assert.ok(back.step >= 24 && back.step < 30);
  rmSync(folder, { recursive: true });
  unpack(back.files, folder);
  goOn();
  const difference = apart(rows(folder), native);
  console.log(`after page, native, page, native: at most ${difference.toExponential(1)} nats`);
  assert.ok(difference < 1e-3);

  // A run that has come to its end is given more steps, here and there.
  const longer = await page.evaluate(async (list) => {
    const trainer = await w.Trainer.resume(toFiles(list));
    const warnings = [];
    trainer.addEventListener('warning', ({ detail }) => warnings.push(detail.text));
    const summary = await trainer.train({ steps: 33 });
    return { steps: summary.steps, warnings, files: await fromFiles(await trainer.files()) };
  }, packed(folder));
  assert.equal(longer.steps, 33);
  assert.match(longer.warnings.join(), /with changes: .*steps. 33, was 30/);
  rmSync(folder, { recursive: true });
  unpack(longer.files, folder);
  assert.equal(recipe().steps, 33);
  wgrad('pretrain', '--resume', '--allow-changes', '--data', 'wgrad-run/data', '--out', 'wgrad-run', '--steps', '35');
  assert.equal(rows(folder).at(-1).step, 35);
});

test('a run of an earlier page, which left its precision open, goes on with the documented command', async () => {
  const folder = at('earlier');
  cpSync(at('native'), folder, { recursive: true });
  rmSync(join(folder, 'checkpoints/step-00000030'), { recursive: true });
  for (const name of ['train.json', 'checkpoints/step-00000020/state.json']) {
    const path = join(folder, name);
    const text = readFileSync(path, 'utf8');
    assert.match(text, /"precision": ?"f32"/);
    writeFileSync(path, text.replace(/"precision": ?"f32"/, '"precision": "auto"'));
  }
  // A checkpoint says what its files were; without that it is taken as those of still earlier versions.
  rmSync(join(folder, 'checkpoints/step-00000020/checksums.json'));
  wgrad('pretrain', '--resume', '--data', 'data', '--out', 'earlier');
  assert.ok(apart(rows(folder), native) < 1e-3);
  assert.equal(JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8')).precision, 'f32');
});

test('fault 31: a device lost in a step is opened again, once, and the run goes on', async () => {
  const page = await open();
  // The worker's device, within reach.
  await page.evaluate(() => w.generateText({ documents: 1 }));
  await page.workers()[0].evaluate(() => {
    const request = GPUAdapter.prototype.requestDevice;
    self.devices = [];
    GPUAdapter.prototype.requestDevice = async function (...args) {
      const device = await request.apply(this, args);
      self.devices.push(device);
      return device;
    };
  });
  await page.evaluate(
    ([text, set]) => {
      window.told = { lost: 0, ready: [], steps: [] };
      window.run = (async () => {
        const trainer = await w.Trainer.create(text, { vocabulary: 512, seqLen: 32, join: false, heldOut: 16, set });
        trainer.addEventListener('device-lost', () => (told.lost += 1));
        trainer.addEventListener('ready', ({ detail }) => told.ready.push(detail.step));
        trainer.addEventListener('step', ({ detail }) => told.steps.push(detail.row));
        return trainer.train();
      })();
      window.run.catch(() => {});
    },
    [readFileSync(at('text.txt'), 'utf8'), SET],
  );
  await page.waitForFunction(() => told.steps.some(({ step }) => step >= 13), null, { timeout: 60_000 });
  await page.workers()[0].evaluate(() => self.devices[0].destroy());
  const summary = await page.evaluate(() => window.run);
  const told = await page.evaluate(() => window.told);
  assert.equal(told.lost, 1);
  assert.equal(told.ready[0], 0);
  assert.ok(told.ready.length === 2 && told.ready[1] >= 10, 'it went on from a checkpoint');
  assert.equal(summary.steps, STEPS);
  assert.ok(Math.abs(told.steps.at(-1).loss - native.at(-1).loss) < 1e-3);
  await page.context().close();
});
