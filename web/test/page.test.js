// The rooms, driven by clicks; what they look like is left in target/web-pictures.

import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BASE, GOLDEN, ROOT, end, faults, mainThread, open, place, wgrad } from './setup.js';

const pictures = join(ROOT, 'target/web-pictures');
mkdirSync(pictures, { recursive: true });
after(end);

/** The model that comes with the page, or the little one of the tests. */
const SHIPPED = existsSync(join(ROOT, 'web/model/model.safetensors'));
const here = (room, model = GOLDEN) => `index.html?model=${encodeURIComponent(model)}#${room}`;
/** Tasks longer than this make a page that hesitates. */
const LONGEST = 50;

/** The room in light and dark, wide and on a phone. */
async function picture(page, name) {
  for (const [kind, width, colorScheme] of [['wide-light', 1180, 'light'], ['wide-dark', 1180, 'dark'], ['phone-light', 390, 'light'], ['phone-dark', 390, 'dark']]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 840 });
    await page.waitForTimeout(150);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(overflow <= 0, `${name} ${kind} is ${overflow} pixels too wide`);
    await page.screenshot({ path: join(pictures, `${name}-${kind}.png`), fullPage: true });
  }
  await page.setViewportSize({ width: 1180, height: 840 });
}

test('the training room', async () => {
  const page = await open('index.html#train');
  await page.waitForSelector('#device:not([hidden])');
  await page.waitForFunction(() => document.getElementById('text').value.length > 100);
  await picture(page, 'train-before');
  const tasks = await mainThread(page, async () => {
    await page.fill('#steps', '30');
    await page.click('#start');
    await page.waitForFunction(() => Number(document.getElementById('n-step').textContent) >= 6, null, { timeout: 300_000 });
    await page.click('#pause');
    await page.waitForSelector('#room-train[data-state=paused]', { timeout: 120_000 });
    assert.match(await page.textContent('#train-status'), /Paused after/);
    await page.waitForSelector('#guesses .bar');
    await page.click('#start');
    await page.waitForFunction(() => /^Done/.test(document.getElementById('train-status').textContent), null, { timeout: 300_000 });
    await page.fill('#mask-text', 'my [MASK] is near the castle .');
    await page.press('#mask-text', 'Enter');
    await page.waitForFunction(() => document.querySelectorAll('#guesses .bar').length === 5);
  });
  assert.ok(tasks.processor <= LONGEST, `a task took ${tasks.processor} ms: ${tasks.what}`);
  await picture(page, 'train-after');

  const saved = page.waitForEvent('download');
  await page.click('#download');
  const file = join(pictures, 'wgrad-run.zip');
  await (await saved).saveAs(file);
  await page.click('#again');
  // The other way: what was downloaded goes on.
  await page.setInputFiles('#drop-input', file);
  await page.waitForFunction(() => /is loaded/.test(document.getElementById('train-status').textContent), null, { timeout: 60_000 });
  assert.equal(await page.inputValue('#steps'), '30');
  await page.context().close();
});

test('the search room', async () => {
  const page = await open(process.env.WGRAD_WEB_MODEL ? here('search', process.env.WGRAD_WEB_MODEL) : SHIPPED ? 'index.html#search' : here('search'));
  // It begins by itself.
  await page.waitForSelector('#answers li', { timeout: 300_000 });
  const tasks = await mainThread(page, async () => {
    assert.equal(await page.locator('#answers li').count(), 5);
    assert.equal(await page.getAttribute('#matrix canvas', 'data-count'), '12');
    const box = await page.locator('#matrix canvas').boundingBox();
    await page.mouse.move(box.x + (1.5 * box.width) / 12, box.y + (0.5 * box.height) / 12);
    assert.match(await page.textContent('#matrix-hint'), /“The bank on.*” and “Loans get/);
    await page.focus('#matrix canvas');
    await page.keyboard.press('ArrowRight');
    assert.match(await page.textContent('#matrix-hint'), /“The bank on.*” and “Savers welcome/);
    await page.fill('#query', 'when does the train leave?');
    await page.press('#query', 'Enter');
    await page.waitForFunction(() => /^A question/.test(document.getElementById('embed-status').textContent));
  });
  assert.ok(tasks.processor <= LONGEST, `a task took ${tasks.processor} ms: ${tasks.what}`);
  if (SHIPPED) assert.match(await page.locator('#answers li').first().textContent(), /train/, 'it finds what is meant');
  await picture(page, 'search');
  await page.fill('#sentences', 'One line.\nAnother line.\n\nA third.');
  await page.locator('#sentences').blur();
  await page.waitForFunction(() => document.querySelector('#matrix canvas').dataset.count === '3');
  await page.context().close();
});

test('the attention room, by mouse and keyboard, has the numbers of the program', async () => {
  const text = 'the old cat is green .';
  const folder = SHIPPED ? join(ROOT, 'web/model') : join(ROOT, 'tests/golden/sentence_transformers');
  wgrad('attention', '--model', folder, text, '--out', join(place, 'attention.json'));
  const native = JSON.parse(readFileSync(join(place, 'attention.json'), 'utf8'));

  const page = await open(SHIPPED ? 'index.html#look' : here('look'));
  await page.waitForSelector('#room-look[data-state=ready]', { timeout: 300_000 });
  await picture(page, 'look-before');
  const tasks = await mainThread(page, async () => {
    await page.fill('#look-text', text);
    await page.press('#look-text', 'Enter');
    await page.waitForFunction((count) => document.querySelectorAll('#reading button').length === count, native.tokens.length);
  });
  assert.ok(tasks.processor <= LONGEST, `a task took ${tasks.processor} ms: ${tasks.what}`);
  const [layers, heads] = [native.layers.length, native.heads.length];
  assert.equal(await page.locator('#heads button').count(), layers * heads);

  /** What the page reads out, against the program's numbers. */
  const check = async (layer, head, from) => {
    assert.equal(await page.textContent('#head-name'), `Layer ${layer + 1}, head ${head + 1}`);
    const shares = await page.locator('#reading button').evaluateAll((words) => words.map((word) => word.dataset.share));
    const row = native.probabilities[layer][head][from];
    shares.forEach((share, to) => assert.ok(Math.abs((parseFloat(share) || 0) / 100 - row[to]) < 0.0101, `${share} for ${row[to]}`));
    const best = row.indexOf(Math.max(...row));
    assert.ok(parseFloat(shares[best]) > 0);
    const told = await page.textContent('#reading-hint');
    assert.match(told, / looks most at /);
    assert.ok(told.includes(shares[best]), `${told}: ${shares[best]}`);
  };
  await page.click(`#heads button[data-layer="${layers - 1}"][data-head="0"]`);
  await page.hover('#reading button[data-at="3"]');
  await check(layers - 1, 0, 3);
  await page.hover('#links .from[data-row="2"] rect');
  await check(layers - 1, 0, 2);
  await page.click('#reading button[data-at="1"]');
  await page.mouse.move(5, 5);
  await check(layers - 1, 0, 1);
  await page.focus('#heads [tabindex="0"]');
  await page.keyboard.press('ArrowRight');
  await check(layers - 1, 1, 1);
  await page.keyboard.press('ArrowUp');
  await check(layers - 2, 1, 1);
  await page.focus('#reading [tabindex="0"]');
  await page.keyboard.press('ArrowRight');
  await check(layers - 2, 1, 2);
  // What was drawn is not blank.
  const inked = await page.locator('#heads canvas').evaluateAll((canvases) =>
    canvases.every((canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0)),
  );
  assert.ok(inked);
  await page.context().close();
});

test('the attention room by touch, on a phone', async () => {
  const page = await open(SHIPPED ? 'index.html#look' : here('look'), { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  await page.waitForSelector('#room-look[data-state=ready]', { timeout: 300_000 });
  await page.tap('#heads button[data-layer="0"][data-head="1"]');
  assert.equal(await page.textContent('#head-name'), 'Layer 1, head 2');
  await page.tap('#reading button[data-at="2"]');
  assert.equal(await page.getAttribute('#reading button[data-at="2"]', 'aria-pressed'), 'true');
  await page.tap('#links .from[data-row="4"]');
  assert.equal(await page.getAttribute('#reading button[data-at="4"]', 'aria-pressed'), 'true');
  await page.context().close();
});

test('fault 48: the page and a model that was loaded work without a network', async () => {
  // A folder need not have all that it might.
  faults.set('/golden/sentence_transformers/sentence_bert_config.json', (response) => response.writeHead(404).end());
  const page = await open(SHIPPED ? 'index.html#search' : here('search'));
  await page.waitForSelector('#answers li', { timeout: 120_000 });
  // One visit is enough.
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.context().setOffline(true);
  await page.reload();
  await page.waitForSelector('#answers li', { timeout: 120_000 });
  await page.click('#tab-look');
  await page.waitForSelector('#room-look[data-state=ready]', { timeout: 120_000 });
  faults.clear();
  await page.context().close();
});

test('a model that cannot be had is told of, and another can be chosen', async () => {
  const page = await open(here('search', `${BASE}none/`));
  await page.waitForSelector('#search-model .hint.bad');
  assert.match(await page.textContent('#search-model .hint.bad'), /answered 404/);
  await page.fill('#search-model .address', GOLDEN);
  await page.click('#search-model .own button');
  await page.waitForSelector('#answers li', { timeout: 120_000 });
  // The other room has it too.
  await page.click('#tab-look');
  await page.waitForSelector('#room-look[data-state=ready]', { timeout: 120_000 });
  await page.context().close();
});

test('fault 45: without WebGPU, or without an adapter, the page says so and what to do', async () => {
  const cases = [
    ['no-webgpu', () => Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined }), /does not offer WebGPU/],
    ['no-adapter', () => (GPU.prototype.requestAdapter = async () => null), /found no graphics adapter/],
  ];
  for (const [name, init, title] of cases) {
    const page = await open('index.html', { init });
    await page.waitForSelector('#trouble:not([hidden])');
    assert.match(await page.textContent('#trouble h2'), title);
    assert.match(await page.textContent('#trouble'), /chrome:\/\//);
    assert.ok(await page.isDisabled('#start'));
    await picture(page, name);
    await page.context().close();
  }
});

test('without the built library the page says so', async () => {
  faults.set('/wasm/wgrad.js', (response) => response.writeHead(404).end());
  const page = await open('index.html');
  await page.waitForSelector('#trouble:not([hidden])');
  assert.match(await page.textContent('#trouble'), /could not be loaded/);
  faults.clear();
  await page.context().close();
  assert.ok(BASE);
});
