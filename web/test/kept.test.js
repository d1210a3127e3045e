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
      for (const told of ['warning', 'not-kept']) trainer.addEventListener(told, ({ detail }) => warnings.push(detail.text));
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
  assert.match((await thrown(page, () => trainer.train({ steps: 40 }))).message, /^steps: expected a run that stands still.*pause\(\)/);
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
  // A name that is kept is for no other run: its data would stay, and its weights would go.
  const [made, resumed] = await page.evaluate(async (set) => {
    const message = (work) => work.then(() => null, ({ message }) => message);
    const text = await w.generateText({ words: 30, documents: 60, seed: 4 });
    const options = { vocabulary: 256, seqLen: 32, join: false, set, steps: 5 };
    const other = await w.Trainer.create(text, options);
    await other.train();
    const files = await other.files();
    await other.dispose();
    const keep = 'never interrupted';
    return [await message(w.Trainer.create(text, { ...options, keep })), await message(w.Trainer.resume(files, { keep }))];
  }, SET);
  for (const message of [made, resumed]) assert.match(message, /^keep: expected a name that is free, found never interrupted, which is kept: Trainer\.restore/);
  assert.deepEqual((await kept(page)).map(({ name, step }) => [name, step]).sort(), [['never interrupted', 30], ['page closed', 30]]);
  // One that cannot be read hides no other.
  const readable = await page.evaluate(async () => {
    const { keys } = FileSystemDirectoryHandle.prototype;
    FileSystemDirectoryHandle.prototype.keys = function () {
      if (this.name === 'page closed') throw new DOMException('locked', 'NotReadableError');
      return keys.call(this);
    };
    const found = await w.Trainer.kept();
    FileSystemDirectoryHandle.prototype.keys = keys;
    return found.map(({ name }) => name);
  });
  assert.deepEqual(readable, ['never interrupted']);
  // What is no longer whole is told, and names that are paths are none.
  const damage = (ending) => page.evaluate(async (ending) => {
    const folder = await (await (await navigator.storage.getDirectory()).getDirectoryHandle('wgrad-runs')).getDirectoryHandle('page closed');
    for await (const name of folder.keys()) {
      if (!name.endsWith(ending)) continue;
      const file = await folder.getFileHandle(name);
      const stream = await file.createWritable({ keepExistingData: true });
      await stream.write({ type: 'write', position: 200, data: new Uint8Array(64) });
      await stream.close();
    }
  }, ending);
  await damage('-of-30.zip');
  assert.match((await thrown(page, () => w.Trainer.restore('page closed'))).message, /found none that is whole/);
  await damage('data.zip');
  assert.match((await thrown(page, () => w.Trainer.restore('page closed'))).message, /^page closed, data\.zip: .*archive/);
  assert.match((await thrown(page, () => w.Trainer.create('a text', { keep: '../x' }))).message, /^keep: expected a name/);
  await page.context().close();
});

test('where a run cannot be kept it says so, and trains', async () => {
  const page = await open('test/blank.html');
  await prepared(page);
  await page.evaluate(() => w.generateText({ documents: 1 }));
  await page.workers()[0].evaluate(() => (FileSystemSyncAccessHandle.prototype.write = () => { throw new DOMException('no room', 'QuotaExceededError'); }));
  const full = await page.evaluate(async () => ({ steps: (await begin('full', 10)).steps, warnings, kept: await w.Trainer.kept(), notKept: trainer.notKept }));
  assert.equal(full.steps, 10);
  assert.match(full.warnings[0], /^step 5 was not kept in this browser \(no room\): download/);
  assert.match(full.notKept, /^step 10 was not kept/);
  assert.deepEqual(full.kept, []);
  await page.workers()[0].evaluate(() => (StorageManager.prototype.getDirectory = async () => { throw new DOMException('not here', 'SecurityError'); }));
  const none = await page.evaluate(async () => {
    await trainer.dispose();
    return { steps: (await begin('none', 5)).steps, warnings };
  });
  assert.equal(none.steps, 5);
  assert.match(none.warnings[0], /^this browser keeps no runs \(not here\): download/);
  // One from elsewhere, which is kept as it is taken over, says so at once.
  const adopted = await page.evaluate(async () => {
    const other = await w.Trainer.resume(await trainer.files(), { keep: 'elsewhere' });
    const { notKept } = other;
    await other.dispose();
    return notKept;
  });
  assert.match(adopted, /^this browser keeps no runs \(not here\)/);
  await page.context().close();
});

test('in the page a run that is kept nowhere is not lost by one press', async () => {
  const page = await open('index.html#train');
  await page.waitForSelector('#device:not([hidden])');
  await page.workers()[0].evaluate(() => (StorageManager.prototype.getDirectory = async () => { throw new DOMException('not here', 'SecurityError'); }));
  await page.fill('#steps', '20');
  await page.click('#start');
  await page.waitForFunction(() => /^Done: 20 steps/.test(document.getElementById('train-status').textContent), null, { timeout: 300_000 });
  // Given more, it warns of what is changed, and that is another line.
  await page.fill('#steps', '22');
  await page.click('#start');
  await page.waitForFunction(() => /^Done: 22 steps/.test(document.getElementById('train-status').textContent), null, { timeout: 300_000 });
  assert.match(await page.textContent('#train-note'), /goes on with changes/);
  const line = /^this browser keeps no runs \(not here\): download it before you leave\.$/;
  assert.match(await page.textContent('#not-kept'), line);
  const asks = new Promise((done) => page.once('dialog', (dialog) => dialog.dismiss().then(() => done(dialog.type()))));
  await page.close({ runBeforeUnload: true });
  assert.equal(await asks, 'beforeunload');
  await page.evaluate(() => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File(['{}'], 'train.json'));
    document.getElementById('drop').dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer }));
  });
  await page.waitForFunction(() => /is kept nowhere else: download it/.test(document.getElementById('train-status').textContent));
  await page.click('#again');
  assert.equal(await page.textContent('#again'), 'Discard this run');
  assert.match(await page.textContent('#not-kept'), line, 'it is still there');
  const download = page.waitForEvent('download');
  await page.click('#download');
  await download;
  await page.waitForFunction(() => document.getElementById('again').textContent === 'New run' && !document.getElementById('download').disabled);
  await page.click('#again');
  await page.waitForFunction(() => document.getElementById('room-train').dataset.state === 'new');
  assert.equal(await page.textContent('#not-kept'), '');
  await page.context().close();
});

test('what is pressed among the kept runs stays pressed while another tab has one', async () => {
  const other = await open('test/blank.html');
  await prepared(other);
  await other.evaluate(async () => {
    await begin('own a', 5);
    await trainer.dispose();
    await begin('made-up b', 5);
  });
  const page = await other.context().newPage();
  await page.goto(other.url().replace('test/blank.html', 'index.html#train'));
  await page.waitForFunction(() => document.querySelectorAll('#kept-runs li').length === 2);
  const names = await page.$$eval('#kept-runs button', (buttons) => buttons.map((button) => button.ariaLabel));
  assert.equal(new Set(names).size, 4, names.join());
  const remove = page.locator('#kept-runs .quiet:enabled');
  await remove.click();
  await page.waitForTimeout(2500);
  assert.equal(await remove.textContent(), 'Delete for good');
  assert.match(await page.evaluate(() => document.activeElement.ariaLabel), /^Delete for good: Your text, 5 of 5 steps/);
  await remove.press('Enter');
  await page.waitForFunction(() => document.querySelectorAll('#kept-runs li').length === 1);
  // The other tab lets it go, and there it can be deleted too.
  await other.evaluate(() => trainer.dispose());
  await remove.click();
  await remove.press('Enter');
  await page.waitForSelector('#kept', { state: 'hidden' });
  await page.waitForFunction(() => document.activeElement.id === 'start');
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
  await page.reload({ timeout: 300_000 });
  await page.waitForSelector('#kept:not([hidden]) li');
  assert.match(await page.textContent('#kept li'), /Made-up English 2[0-3] of 24 steps/);
  // A run that stands still may be left without a question.
  let dialogs = 0;
  page.on('dialog', (dialog) => (dialogs += 1) && dialog.accept());
  await page.reload({ timeout: 300_000 });
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
  // What a system left in a folder is no reason, nor is a character that stands for those that are lost.
  const lost = 'one \ufffd is lost';
  await drop('#text', [['.DS_Store', [0, 0, 0, 1]], ['__MACOSX/._a.txt', [0, 5]], ['a.txt', lost]]);
  await page.waitForFunction((lost) => document.querySelector('#text').value === lost, lost);
  await drop('#text', [['nul.txt', [65, 0, 65]]]);
  await said('#text-hint', '^nul.txt: expected text in UTF-8');
  // Text that is dragged is not a file: the browser moves it.
  for (const area of ['#text', '#sentences']) {
    const [before, prevented, after] = await page.evaluate((area) => {
      const element = document.querySelector(area);
      const dataTransfer = new DataTransfer();
      dataTransfer.setData('text/plain', 'two words');
      const before = element.value;
      const prevented = ['dragover', 'drop'].map((type) => !element.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer })));
      return new Promise((done) => setTimeout(() => done([before, prevented, element.value]), 100));
    }, area);
    assert.deepEqual([prevented, after], [[false, false], before], area);
  }
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
