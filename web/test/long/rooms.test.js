// Every room at every width, in both themes, with WebGPU and without, as a visitor's window shows it; and a minute of use.
// Leaves pictures in target/web-pictures/rooms, and prints rows for docs/web.md.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ROOT, end, mainThread, open } from '../setup.js';

const pictures = join(ROOT, 'target/web-pictures/rooms');
mkdirSync(pictures, { recursive: true });
after(end);

const axe = readFileSync(join(ROOT, 'target/tools/node_modules/axe-core/axe.min.js'), 'utf8');
const READY = { search: '#answers li', look: '#room-look[data-state=ready]', train: '#device:not([hidden])' };
const SIZES = [[1280, 800], [768, 1024], [390, 844]];
const noWebGPU = () => Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });
/** The longest time that scripts of the page itself may hold its main thread in one task, in milliseconds. */
const LONGEST = 50;

/** What is wrong with a window that a visitor would see; nothing is best. */
const faults = (page) =>
  page.evaluate(async () => {
    const wrong = [];
    const { violations } = await axe.run();
    for (const { id, nodes } of violations) wrong.push(`axe ${id}: ${nodes.map(({ target }) => target).join(' ')}`);
    for (const selector of ['h1', '#tab-search', '#tab-look', '#tab-train']) {
      const { top, left, bottom, right } = document.querySelector(selector).getBoundingClientRect();
      if (top < 0 || left < 0 || bottom > innerHeight || right > innerWidth) wrong.push(`${selector} is not in view`);
    }
    for (const element of document.querySelectorAll('body *')) {
      // A line of chips is scrolled sideways on a phone; what screen readers alone see has no place.
      if (element.closest('.chips, .unseen, svg') || !element.checkVisibility()) continue;
      const { left, right } = element.getBoundingClientRect();
      if (right > innerWidth + 0.5 || left < -0.5) wrong.push(`${element.tagName} ${element.id || element.className} is from ${left} to ${right} of ${innerWidth}`);
    }
    const canvas = document.querySelector('#matrix canvas');
    if (canvas?.checkVisibility() && canvas.dataset.count) {
      const { top, height } = canvas.getBoundingClientRect();
      const names = [...document.querySelectorAll('#matrix .names span')].filter((name) => name.checkVisibility());
      names.forEach((name, i) => {
        const off = Math.abs(name.getBoundingClientRect().top + name.offsetHeight / 2 - top - ((i + 0.5) * height) / canvas.dataset.count);
        if (off >= 2) wrong.push(`label ${i} is ${off} pixels off`);
      });
    }
    return wrong;
  });

for (const colorScheme of ['light', 'dark']) {
  for (const [width, height] of SIZES) {
    for (const [name, init] of [['', undefined], ['-no-webgpu', noWebGPU]]) {
      test(`${width} × ${height}, ${colorScheme}${name}`, async () => {
        for (const [room, ready] of Object.entries(READY)) {
          const page = await open(`index.html#${room}`, { viewport: { width, height }, colorScheme, init });
          await page.waitForSelector(init ? '#trouble:not([hidden])' : ready, { timeout: 300_000 });
          await page.waitForTimeout(300);
          await page.evaluate(axe);
          assert.equal(await page.evaluate(() => scrollY), 0);
          await page.screenshot({ path: join(pictures, `${room}-${width}-${colorScheme}${name}.png`) });
          assert.deepEqual(await faults(page), [], room);
          await page.context().close();
        }
      });
    }
  }
}

test('a minute of use, pastes of ten megabytes included', async () => {
  const page = await open('index.html#search', { init: () => {
    // What the browser itself needs to lay out ten megabytes is not the page's.
    self.paste = (selector, text) => {
      const area = document.querySelector(selector);
      Object.defineProperty(area, 'value', { get: () => text, set() {}, configurable: true });
      area.dispatchEvent(new Event('input', { bubbles: true }));
      area.dispatchEvent(new Event('change', { bubbles: true }));
    };
  } });
  await page.waitForSelector(READY.search, { timeout: 300_000 });
  await page.evaluate(() => (self.megabytes = Array.from({ length: 160_000 }, (_, i) => `Sentence number ${i}, one of many in a file of ten megabytes.`).join('\n')));
  const parts = {
    search: async () => {
      await page.evaluate(() => paste('#sentences', megabytes));
      await page.waitForTimeout(10_000);
      await page.evaluate(() => paste('#sentences', 'One.\nTwo.'));
      await page.waitForFunction(() => document.querySelector('#matrix canvas').dataset.count === '2', null, { timeout: 120_000 });
    },
    look: async () => {
      await page.click('#tab-look');
      await page.waitForSelector(READY.look, { timeout: 120_000 });
      for (let head = 0; head < 6; head++) {
        await page.locator('#heads button').nth(head).click();
        await page.hover(`#reading button >> nth=${head + 1}`);
        await page.waitForTimeout(1000);
      }
    },
    train: async () => {
      await page.click('#tab-train');
      await page.fill('#steps', '40');
      await page.click('#start');
      await page.waitForTimeout(25_000);
      await page.click('#pause').catch(() => {});
      await page.waitForSelector('#room-train:not([data-state=running])', { timeout: 120_000 });
      await page.click('#again');
      await page.click('#room-train label:has(input[value=own])');
      await page.evaluate(() => paste('#text', megabytes));
      await page.click('#start');
      await page.waitForTimeout(10_000);
    },
  };
  for (const [name, use] of Object.entries(parts)) {
    const found = await mainThread(page, use);
    console.log(`| ${name} | ${found.processor} ms |`);
    assert.ok(found.processor <= LONGEST, `${name}: a task took ${found.processor} ms: ${found.what}`);
  }
  await page.context().close();
});
