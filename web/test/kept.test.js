// Nothing lost: runs that outlive their page, whatever ends it; files that are dropped; what is said of time and device.

import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Estimate, inWords } from '../page/estimate.js';
import { end, open, place, thrown } from './setup.js';

after(end);

const SET = ['model.hidden_size=64', 'model.num_attention_heads=2', 'batch_sequences=8', 'micro_batch=8', 'warmup_steps=1', 'checkpoint.every=5', 'checkpoint.minutes=0', 'seed=3'];

/** Makes `window.begin(keep, steps)`, which starts to train, in a page. */
const prepared = (page) =>
  page.evaluate((set) => {
    window.begin = async (keep, total) => {
      window.steps = [];
      const text = await w.generateText({ words: 30, documents: 60, seed: 3 });
      window.trainer = await w.Trainer.create(text, { vocabulary: 256, seqLen: 32, join: false, heldOut: 8, set, steps: total, keep });
      trainer.addEventListener('step', ({ detail }) => steps.push(detail.row));
      window.warnings = [];
      trainer.addEventListener('warning', ({ detail }) => warnings.push(detail.text));
      return trainer.train();
    };
  }, SET);

const kept = (page) => page.evaluate(() => w.Trainer.kept());
const again = (page) => page.context().newPage().then(async (next) => {
  await next.goto(page.url());
  await next.evaluate(async () => (window.w = await import('/index.js')));
  return next;
});
/** Goes on with a kept run to its end: the step at which it began, and the losses. */
const restored = (page, name) =>
  page.evaluate(async (name) => {
    const trainer = await w.Trainer.restore(name);
    const rows = [];
    trainer.addEventListener('step', ({ detail }) => rows.push(detail.row));
    const summary = await trainer.train();
    await trainer.dispose();
    return { done: trainer.done, before: trainer.rows, rows, steps: summary.steps, kept: await w.Trainer.kept() };
  }, name);

test('fault 66: a run outlives its page, its worker and a crash in the middle of being kept', async () => {
  let page = await open();
  await prepared(page);
  const whole = await page.evaluate(async () => {
    await begin('never interrupted', 30);
    return window.steps.filter(({ step }) => step > 0).map(({ loss }) => loss);
  });
  assert.deepEqual((await kept(page)).map(({ name, step, totalSteps, inUse }) => [name, step, totalSteps, inUse]), [['never interrupted', 30, 30, true]]);
  const other = await again(page);
  assert.equal((await kept(other))[0].inUse, true);
  const [taken, forgotten] = await Promise.all([thrown(other, () => w.Trainer.restore('never interrupted')), thrown(other, () => w.Trainer.forget('never interrupted'))]);
  for (const { message } of [taken, forgotten]) assert.match(message, /in use, in another tab/);
  await page.evaluate(() => trainer.dispose());

  // The page goes while it trains.
  page.evaluate(() => begin('page closed', 30)).catch(() => {});
  await page.waitForFunction(() => window.steps?.some(({ step }) => step >= 12) && window.trainer.training);
  await page.close();
  page = other;
  const closed = await restored(page, 'page closed');
  assert.ok(closed.done >= 10 && closed.done < 30, `${closed.done} steps were kept`);
  const all = [...closed.before, ...closed.rows].filter(({ step }) => step > 0);
  assert.deepEqual(all.map(({ step }) => step), whole.map((_, at) => at + 1), 'each step once');
  assert.deepEqual(all.map(({ loss }) => loss), whole, 'the bits of one that was never interrupted');
  assert.ok(closed.kept.some(({ name, step, inUse }) => name === 'page closed' && step === 30 && !inUse));

  // The worker hangs with half of a state written, and is ended.
  for (const pieces of [5]) {
    await prepared(page);
    page.evaluate(() => begin('crashed', 15)).catch(() => {});
    await page.waitForFunction(() => window.steps?.some(({ step }) => step >= 6));
    await page.workers()[0].evaluate((pieces) => {
      const write = FileSystemSyncAccessHandle.prototype.write;
      let left = pieces;
      FileSystemSyncAccessHandle.prototype.write = function (bytes, at) {
        if (left-- > 0) return write.call(this, bytes, at);
        write.call(this, bytes.subarray(0, bytes.length >> 1), at);
        for (;;);
      };
    }, pieces);
    // Until nothing moves any more.
    for (let before = -1, now = 0; before !== now; ) {
      before = now;
      await page.waitForTimeout(1500);
      now = await page.evaluate(() => window.steps.length);
    }
    await page.evaluate(() => w.terminate());
    const { done, before, steps } = await restored(page, 'crashed');
    assert.ok(done >= 5 && steps === 15, `${pieces} pieces: from step ${done} to ${steps}`);
    assert.equal(before.at(-1).step, done);
    await page.evaluate(() => w.Trainer.forget('crashed'));
  }
  assert.deepEqual((await kept(page)).map(({ name }) => name).sort(), ['never interrupted', 'page closed']);
  // What is no longer whole is told, and names that are paths are none.
  await page.evaluate(async () => {
    const folder = await (await (await navigator.storage.getDirectory()).getDirectoryHandle('wgrad-runs')).getDirectoryHandle('page closed');
    for await (const name of folder.keys()) {
      const file = await folder.getFileHandle(name);
      const stream = await file.createWritable({ keepExistingData: true });
      await stream.write({ type: 'write', position: 200, data: new Uint8Array(64) });
      await stream.close();
    }
  });
  assert.match((await thrown(page, () => w.Trainer.restore('page closed'))).message, /found none that is whole/);
  assert.match((await thrown(page, () => w.Trainer.create('a text', { keep: '../x' }))).message, /^keep: expected a name/);
  await page.context().close();
});

test('where a run cannot be kept it says so, and trains', async () => {
  const page = await open('test/blank.html');
  await prepared(page);
  await page.evaluate(() => w.generateText({ documents: 1 }));
  await page.workers()[0].evaluate(() => (FileSystemSyncAccessHandle.prototype.write = () => { throw new DOMException('no room', 'QuotaExceededError'); }));
  const full = await page.evaluate(async () => ({ steps: (await begin('full', 10)).steps, warnings, kept: await w.Trainer.kept() }));
  assert.equal(full.steps, 10);
  assert.match(full.warnings[0], /^step 5 was not kept in this browser \(no room\): download/);
  assert.deepEqual(full.kept, []);
  await page.workers()[0].evaluate(() => (StorageManager.prototype.getDirectory = async () => { throw new DOMException('not here', 'SecurityError'); }));
  const none = await page.evaluate(async () => {
    await trainer.dispose();
    return { steps: (await begin('none', 5)).steps, warnings };
  });
  assert.equal(none.steps, 5);
  assert.match(none.warnings[0], /^this browser keeps no runs \(not here\): download/);
  await page.context().close();
});

test('fault 66: in the page a run is offered after a reload, and leaving while it trains asks', async () => {
  const page = await open('index.html#train');
  await page.waitForSelector('#device:not([hidden])');
  assert.match(await page.textContent('.tagline'), /No graphics card was found: your processor computes, slowly/);
  await page.fill('#steps', '24');
  await page.click('#start');
  await page.waitForFunction(() => Number(document.getElementById('n-step').textContent) >= 21, null, { timeout: 300_000 });
  assert.match(await page.textContent('#train-status'), /your processor, no graphics card, so it is slow/);
  assert.match(await page.textContent('#train-time'), /^It takes (a few seconds|about .*) more\.$/);
  const asks = new Promise((done) => page.once('dialog', (dialog) => dialog.dismiss().then(() => done(dialog.type()))));
  await page.close({ runBeforeUnload: true });
  assert.equal(await asks, 'beforeunload');
  page.once('dialog', (dialog) => dialog.accept());
  await page.reload();
  await page.waitForSelector('#kept:not([hidden]) li');
  assert.match(await page.textContent('#kept li'), /Made-up English 2[0-3] of 24 steps/);
  // A run that stands still may be left without a question.
  let dialogs = 0;
  page.on('dialog', (dialog) => (dialogs += 1) && dialog.accept());
  await page.reload();
  await page.click('#kept li button');
  await page.waitForFunction(() => /^The run is loaded, 2[0-3] of 24/.test(document.getElementById('train-status').textContent), null, { timeout: 60_000 });
  assert.ok(await page.isHidden('#kept'));
  assert.equal(await page.inputValue('#steps'), '24');
  assert.match(await page.getAttribute('#curve svg', 'aria-label'), /^Loss after 2[0-3] steps/);
  assert.equal(await page.textContent('#start'), 'Go on');
  await page.click('#start');
  await page.waitForFunction(() => /^Done: 24 steps/.test(document.getElementById('train-status').textContent), null, { timeout: 300_000 });

  // It has come to its end, and can be given more.
  await page.waitForSelector('#start:disabled');
  await page.fill('#steps', '27');
  assert.match(await page.textContent('#train-time'), /^3 steps take (a few|about \d+) seconds\.$|^$/);
  await page.click('#start');
  await page.waitForFunction(() => /^Done: 27 steps/.test(document.getElementById('train-status').textContent), null, { timeout: 300_000 });
  assert.match(await page.textContent('#train-note'), /the run goes on with changes: .*steps. 27, was 24/);
  await page.click('#again');
  await page.waitForSelector('#kept li');
  assert.match(await page.textContent('#kept li'), /27 of 27 steps/);
  await page.click('#kept li .quiet');
  await page.click('#kept li .quiet');
  await page.waitForSelector('#kept', { state: 'hidden' });
  assert.equal(dialogs, 0);
  await page.context().close();
});

test('files that are dropped beside a zone do nothing, and those that cannot be read are told of', async () => {
  const page = await open('index.html#train');
  await page.waitForSelector('#device:not([hidden])');
  const drop = (selector, files) =>
    page.evaluate(([selector, files]) => {
      const data = new DataTransfer();
      for (const [name, bytes] of files) data.items.add(new File([typeof bytes === 'string' ? bytes : new Uint8Array(bytes)], name));
      const event = (type) => new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: data });
      const at = document.querySelector(selector);
      // What is not prevented makes the browser leave the page and open the file.
      return ['dragover', 'drop'].map((type) => !at.dispatchEvent(event(type)));
    }, [selector, files]);
  const said = (selector, expected) => page.waitForFunction(([selector, source]) => new RegExp(source).test(document.querySelector(selector).textContent), [selector, expected]);
  for (const beside of ['h1', '#steps', '#curve', 'body', '#mask-text']) assert.deepEqual(await drop(beside, [['a.txt', 'text']]), [true, true], beside);
  await page.click('#room-train label:has(input[value=own])');
  await page.fill('#text', 'my own text');
  await drop('#text', [['paper.pdf', '%PDF']]);
  await said('#text-hint', '^paper.pdf: expected a file of text \\(\\.txt, .* or \\.jsonl\\), found another');
  await drop('#text', [['latin.txt', [0x63, 0x61, 0x66, 0xe9]]]);
  await said('#text-hint', '^latin.txt: expected text in UTF-8');
  assert.equal(await page.inputValue('#text'), 'my own text', 'what was there stays');
  await drop('#drop', [['run.zip', 'no archive']]);
  await said('#train-status', '^run.zip: expected a zip archive');
  await drop('#drop', [['notes.txt', 'text']]);
  await said('#train-status', 'found no train.json in it');
  // A file that is gone before it is read.
  const gone = join(place, 'gone.txt');
  writeFileSync(gone, 'here for a moment');
  await page.evaluate(() => document.body.append(Object.assign(document.createElement('input'), { type: 'file', id: 'holder' })));
  await page.setInputFiles('#holder', gone);
  rmSync(gone);
  const dropGone = (selector) =>
    page.evaluate((selector) => {
      const data = new DataTransfer();
      data.items.add(document.getElementById('holder').files[0]);
      document.querySelector(selector).dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer: data }));
    }, selector);
  await dropGone('#drop');
  await said('#train-status', '^gone.txt: expected a file that can be read, found one that cannot');
  await dropGone('#text');
  await said('#text-hint', '^gone.txt: expected a file that can be read, found one that cannot');
  await page.click('#tab-search');
  await dropGone('#sentences');
  await said('#embed-status', '^gone.txt: expected a file that can be read, found one that cannot');
  await page.context().close();
});

test('an estimate counts all that happens between steps, but for the first', () => {
  const estimate = new Estimate();
  let clock = 0;
  for (let step = 1; step <= 2; step++) estimate.add(step, (clock += 3000));
  assert.equal(estimate.perStep, null, 'shaders are compiled once');
  // Every tenth step is measured after, which takes a second.
  for (let step = 3; step <= 63; step++) estimate.add(step, (clock += step % 10 ? 100 : 1100));
  assert.ok(Math.abs(estimate.perStep - 0.2) < 0.01, `${estimate.perStep}`);
  // A machine that has become slow is believed.
  for (let step = 64; step <= 300; step++) estimate.add(step, (clock += 1000));
  assert.ok(Math.abs(estimate.perStep - 1) < 0.01, `${estimate.perStep}`);
  estimate.clear();
  assert.equal(estimate.perStep, null);
  const words = [[4, 'a few seconds'], [12, 'about 10 seconds'], [54, 'about 55 seconds'], [70, 'about a minute'], [100, 'about 2 minutes'], [3500, 'about an hour'], [7300, 'about 2 hours'], [2e5, 'about 2 days']];
  for (const [seconds, told] of words) assert.equal(inWords(seconds), told);
});
