// A browser, a server that can misbehave, and the native program beside them.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach } from 'node:test';
import { fileURLToPath } from 'node:url';
import { serve } from './serve.js';

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const { chromium } = createRequire(join(ROOT, 'target/tools/'))('playwright-core');

const FLAGS = '--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --enable-unsafe-webgpu';

/** What the server does instead of sending a file, by path. */
export const faults = new Map();
// What a test that failed had set would fail all that come after it.
afterEach(() => faults.clear());
/** Paths of files that were asked for. */
export const asked = [];

/** A place on the disk that is gone after the tests. */
export const place = mkdtempSync(join(tmpdir(), 'wgrad-web-'));
process.on('exit', () => rmSync(place, { recursive: true, force: true }));

const server = await serve(
  { '/place/': place, '/': join(ROOT, 'web'), '/golden/': join(ROOT, 'tests/golden'), '/minilm/': join(ROOT, 'data/minilm') },
  {
    intercept(request, response) {
      const path = request.url.split('?')[0];
      if (request.method === 'GET') asked.push(path);
      const fault = faults.get(path);
      if (fault) fault(response, request);
      return Boolean(fault);
    },
  },
);
export const BASE = `http://localhost:${server.address().port}/`;
export const GOLDEN = `${BASE}golden/sentence_transformers/`;

export const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: FLAGS.split(' '),
});

export async function end() {
  await browser.close();
  server.closeAllConnections();
  server.close();
}

/** A page with the package as `w`: an empty one, or the real one if `path` says so. */
export async function open(path = 'test/blank.html', options = {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 900 }, ...options });
  if (options.init) await context.addInitScript(options.init);
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error('page:', error.message));
  await page.goto(BASE + path);
  await page.evaluate(async () => {
    window.w = await import('/index.js');
  });
  return page;
}

/** The name and message of what `work` throws in the page. */
export const thrown = (page, work, argument) =>
  page.evaluate(
    async ([source, argument]) => {
      try {
        await new Function(`return (${source})`)()(argument);
        return null;
      } catch (error) {
        return { name: error.name, message: error.message };
      }
    },
    [work.toString(), argument],
  );

/**
 * The longest task of the page's main thread while `work` runs, in milliseconds: by the clock, which other work on the
 * machine lengthens, and of the processor; and the functions that took longest in it.
 */
export async function mainThread(page, work) {
  await browser.startTracing(page, { categories: ['-*', 'devtools.timeline', 'disabled-by-default-devtools.timeline'] });
  let events;
  try {
    await work();
  } finally {
    events = JSON.parse(await browser.stopTracing()).traceEvents;
  }
  const begun = events.find(({ name }) => name === 'TracingStartedInBrowser');
  const { processId } = begun.args.data.frames.find(({ url }) => url.startsWith(BASE));
  const main = events.find(({ name, pid, args }) => name === 'thread_name' && pid === processId && args.name === 'CrRendererMain');
  const here = events.filter(({ pid, tid, ph }) => pid === processId && tid === main.tid && ph === 'X');
  const tasks = here.filter(({ name }) => name === 'RunTask');
  const clock = tasks.reduce((a, b) => (b.dur > a.dur ? b : a));
  const processor = tasks.reduce((a, b) => (b.tdur > a.tdur ? b : a));
  const inside = here.filter(({ ts, name }) => ts >= processor.ts && ts < processor.ts + processor.dur && name !== 'RunTask');
  const what = inside.sort((a, b) => (b.tdur ?? 0) - (a.tdur ?? 0)).slice(0, 4);
  const found = {
    clock: Math.round(clock.dur / 100) / 10,
    processor: Math.round(processor.tdur / 100) / 10,
    what: what.map(({ name, tdur, args }) => `${name} ${Math.round(tdur / 1000)} ms ${args.data?.functionName ?? args.data?.url ?? ''}`.trim()).join(', '),
  };
  console.log(`longest task on the main thread: ${found.clock} ms by the clock, ${found.processor} ms of the processor (${found.what})`);
  return found;
}

/** Runs the native program. */
export const wgrad = (...args) =>
  execFileSync(process.env.WGRAD ?? join(ROOT, 'target/debug/wgrad'), args, { encoding: 'utf8', cwd: place, stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 1 << 28 });

/** All files below a folder as `[path, base64]` pairs, to be sent into a page. */
export function packed(folder, prefix = '') {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    const inside = prefix ? `${prefix}/${name}` : name;
    return statSync(path).isDirectory() ? packed(path, inside) : [[inside, readFileSync(path).toString('base64')]];
  });
}

export function unpack(files, folder) {
  for (const [path, base64] of files) {
    const target = join(folder, path);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, Buffer.from(base64, 'base64'));
  }
}
