// What a visitor sees first: the window as it opens, at three widths, light and dark, with WebGPU and without.

import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BASE, ROOT, end, open } from './setup.js';

const pictures = join(ROOT, 'target/web-pictures');
mkdirSync(pictures, { recursive: true });
after(end);

const noWebGPU = () => Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });
const SIZES = [[1280, 800], [768, 1024], [390, 844]];
const ANSWER = 'The bank on the corner gives loans to its customers.';

/** Whether all of an element is inside the window. */
const inWindow = (page, selector) =>
  page.locator(selector).first().evaluate((element) => {
    const { top, bottom, left, right } = element.getBoundingClientRect();
    return top >= 0 && left >= 0 && bottom <= innerHeight && right <= innerWidth && bottom > top;
  });

const ready = (page) => page.waitForSelector('#answers li', { timeout: 120_000 });
const scrolled = (page) => page.evaluate(() => scrollY);

for (const [width, height] of SIZES) {
  for (const colorScheme of ['light', 'dark']) {
    test(`the first window of ${width} × ${height}, ${colorScheme}, answers the first question right, or says what is missing`, async () => {
      for (const init of [undefined, noWebGPU]) {
        const page = await open('index.html', { viewport: { width, height }, colorScheme, init });
        await (init ? page.waitForSelector('#trouble:not([hidden])') : ready(page));
        await page.screenshot({ path: join(pictures, `first-${width}-${colorScheme}${init ? '-no-webgpu' : ''}.png`) });
        assert.equal(await scrolled(page), 0);
        for (const selector of ['h1', '#tab-search', '#tab-look', '#tab-train']) assert.ok(await inWindow(page, selector), selector);
        if (init) {
          assert.ok(await inWindow(page, '#trouble'), 'the box is in view');
          assert.match(await page.textContent('#trouble li'), /chrome:\/\/|Open|Use|Update/);
          const nothingBefore = await page.evaluate(() => document.querySelector('#trouble').getBoundingClientRect().top - document.querySelector('nav').getBoundingClientRect().bottom < 60);
          assert.ok(nothingBefore, 'it is the first thing below the tabs');
        } else {
          assert.equal(await page.inputValue('#query'), 'where can I get money?');
          assert.equal(await page.locator('#answers li span').first().textContent(), ANSWER);
          assert.ok(await inWindow(page, '#answers li'), 'the answer is in view');
        }
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(overflow <= 0, `${overflow} pixels too wide`);
        await page.context().close();
      }
    });
  }
}

test('addresses of rooms, reloading, Back and Forward leave the page at its top', async () => {
  const page = await open('index.html#train');
  const room = () => page.evaluate(() => [...document.querySelectorAll('main > section')].filter((one) => !one.hidden).map(({ id }) => id).join());
  assert.equal(await room(), 'room-train');
  assert.equal(await scrolled(page), 0);
  await page.evaluate(() => scrollTo(0, 300));
  await page.reload();
  await page.waitForFunction(() => document.body.dataset.webgpu);
  assert.equal(await scrolled(page), 0);
  await page.click('#tab-look');
  await page.click('#tab-search');
  assert.match(page.url(), /#search$/);
  await page.evaluate(() => scrollTo(0, 300));
  await page.goBack();
  assert.deepEqual([await room(), await scrolled(page)], ['room-look', 0]);
  await page.goBack();
  assert.equal(await room(), 'room-train');
  await page.goForward();
  assert.equal(await room(), 'room-look');
  // An address without a room, or with one that is not there, is that of the first.
  await page.goto(`${BASE}index.html#nothing`);
  assert.equal(await room(), 'room-search');
  await page.context().close();
});

test('attention opens on whole words, and one sentence says what they show', async () => {
  for (const [width, height] of SIZES) {
    const page = await open('index.html#look', { viewport: { width, height } });
    await page.waitForSelector('#room-look[data-state=ready]', { timeout: 120_000 });
    assert.match(await page.textContent('#reading-hint'), /^“patient” looks most at “nurse”: \d+% of its attention in this head\.$/);
    assert.ok(await inWindow(page, '#reading-hint'), `in view at ${width}`);
    await page.context().close();
  }
  const page = await open('index.html#look');
  await page.waitForSelector('#room-look[data-state=ready]', { timeout: 120_000 });
  const examples = await page.locator('#look-examples .chip').allTextContents();
  for (const text of [...examples, 'Well: the snow-white goose, honked!', 'שלום לכל החברים הטובים.']) {
    await page.fill('#look-text', text);
    await page.press('#look-text', 'Enter');
    await page.waitForFunction((text) => document.querySelector('#look-text').dataset.read === text, text);
    if (!/\p{Script=Latin}/u.test(text)) continue;
    const told = await page.textContent('#reading-hint');
    const [, from, to] = told.match(/^“(.*)” looks most at “(.*)”:/) ?? assert.fail(told);
    for (const word of [from, to]) assert.ok(text.split(/[^\p{L}]+/u).includes(word), `“${word}” is a whole word of “${text}”`);
  }
  // Tokens of a text that is read from right to left stand in its order.
  const places = await page.locator('#reading button:not(.special)').evaluateAll((words) => words.map((word) => word.getBoundingClientRect().left));
  assert.ok(places[0] > places[1], 'the first is at the right');
  await page.context().close();
});
