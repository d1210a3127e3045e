// Whether the page stays fluent: the longest task of its main thread, and how long submissions keep the GPU, while it
// trains and searches as it comes.
//
//   scripts/build-web && npm install --prefix target/tools --ignore-scripts playwright-core
//   node benches/web-page.mjs [SECONDS]
//
// It trains for SECONDS (60). A submission lasts from when it was made, or from the end of the one before it, to when
// the queue says that its work is done. Nothing else should run: a software adapter takes every core from the page.

import { end, mainThread, open } from '../web/test/setup.js';

const seconds = Number(process.argv[2] ?? 60);

/** Notes what each submission of a worker takes, in milliseconds. */
function watch() {
  const { submit } = GPUQueue.prototype;
  let before = 0;
  self.submissions = [];
  GPUQueue.prototype.submit = function (commands) {
    const began = performance.now();
    submit.call(this, commands);
    this.onSubmittedWorkDone().then(() => {
      const done = performance.now();
      self.submissions.push(done - Math.max(began, before));
      before = done;
    });
  };
}

/** What `work` in the room `name` does to the page. */
async function room(name, work) {
  const page = await open('test/blank.html');
  const watched = [];
  page.on('worker', (worker) => watched.push(worker.evaluate(watch).then(() => worker)));
  await page.goto(new URL(`/index.html#${name}`, page.url()).href);
  const { clock, processor } = await mainThread(page, () => work(page));
  const times = [];
  for (const worker of await Promise.all(watched)) times.push(...(await worker.evaluate(() => self.submissions)));
  await page.context().close();
  times.sort((a, b) => a - b);
  const at = (share) => Math.round(times[Math.min(times.length - 1, Math.floor(share * times.length))] * 10) / 10;
  return {
    longest_task_ms: clock,
    longest_task_processor_ms: processor,
    submissions: times.length,
    submission_ms: { median: at(0.5), p99: at(0.99), longest: at(1) },
  };
}

const result = {
  train: await room('train', async (page) => {
    await page.waitForFunction(() => document.getElementById('text').value.length > 100 && !document.getElementById('start').disabled);
    await page.click('#start');
    await page.waitForFunction(() => Number(document.getElementById('n-step').textContent) >= 1, null, { timeout: 300_000 });
    await page.waitForTimeout(1000 * seconds);
    await page.click('#pause');
    await page.waitForSelector('#train[data-state=paused]', { timeout: 300_000 });
  }),
  search: await room('search', async (page) => {
    await page.waitForSelector('#answers li', { timeout: 300_000 });
    await page.fill('#query', 'when does the train leave?');
    await page.press('#query', 'Enter');
    await page.waitForFunction(() => /^A question/.test(document.getElementById('embed-status').textContent));
  }),
};
console.log(JSON.stringify(result, null, 2));
await end();
