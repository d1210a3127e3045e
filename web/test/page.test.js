// The rooms, driven by clicks; what they look like is left in target/web-pictures.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BASE, GOLDEN, ROOT, end, faults, open } from './setup.js';

const pictures = join(ROOT, 'target/web-pictures');
mkdirSync(pictures, { recursive: true });
after(end);

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

const watchTasks = () => {
  window.longTasks = [];
  new PerformanceObserver((list) => longTasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' });
};

test('the training room', async () => {
  const page = await open('index.html', { init: watchTasks });
  await page.waitForSelector('#device:not([hidden])');
  await page.waitForFunction(() => document.getElementById('text').value.length > 100);
  await picture(page, 'train-before');
  await page.fill('#steps', '30');
  await page.evaluate(() => (longTasks.length = 0));
  await page.click('#start');
  await page.waitForFunction(() => Number(document.getElementById('n-step').textContent) >= 6, null, { timeout: 300_000 });
  await page.click('#pause');
  await page.waitForSelector('#train[data-state=paused]', { timeout: 120_000 });
  assert.match(await page.textContent('#train-status'), /Paused after/);
  await page.waitForSelector('#guesses .bar');
  await page.click('#start');
  await page.waitForFunction(() => /^Done/.test(document.getElementById('train-status').textContent), null, { timeout: 300_000 });
  await page.fill('#mask-text', 'my [MASK] is near the castle .');
  await page.press('#mask-text', 'Enter');
  await page.waitForFunction(() => document.querySelectorAll('#guesses .bar').length === 5);
  const tasks = await page.evaluate(() => longTasks);
  console.log(`longest task on the main thread: ${Math.max(0, ...tasks).toFixed(0)} ms`);
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
  const model = process.env.WGRAD_WEB_MODEL ?? GOLDEN;
  const page = await open(`index.html?model=${encodeURIComponent(model)}#search`);
  await page.waitForSelector('#device:not([hidden])');
  await picture(page, 'search-before');
  await page.click('#load-model');
  await page.waitForSelector('#answers li', { timeout: 300_000 });
  assert.equal(await page.locator('#answers li').count(), 5);
  const cells = await page.locator('.cells i').count();
  assert.equal(cells, 12 * 12);
  await page.hover('.cells i:nth-child(2)');
  assert.match(await page.textContent('#matrix-hint'), /“Water the basil.*” and “House plants/);
  await page.fill('#query', 'when does the train leave?');
  await page.press('#query', 'Enter');
  await page.waitForFunction(() => !document.getElementById('embed').disabled);
  await picture(page, 'search-after');
  await page.context().close();
});

test('fault 48: the page and a model that was loaded work without a network', async () => {
  const page = await open(`index.html?model=${encodeURIComponent(GOLDEN)}#search`);
  await page.evaluate(() => navigator.serviceWorker.ready);
  // The worker that serves the page takes over with the next visit; that visit fills its cache.
  await page.reload();
  await page.click('#load-model');
  await page.waitForSelector('#answers li', { timeout: 120_000 });
  await page.context().setOffline(true);
  await page.reload();
  await page.click('#load-model');
  await page.waitForSelector('#answers li', { timeout: 120_000 });
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
