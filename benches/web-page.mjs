// Whether the page stays fluent: the longest task of its main thread, and how long submissions keep the GPU, while it
// trains and searches as it comes.
//
//   scripts/build-web && npm install --prefix target/tools --ignore-scripts playwright-core
//   node benches/web-page.mjs [SECONDS]
//
// It trains for SECONDS (60). A submission lasts from when it was made, or from the end of the one before it, to when
// the queue says that its work is done. One before which pipelines were made also waits until they are compiled, and is
// counted by itself. Nothing else should run: a software adapter takes every core from the page.

import { end, mainThread, open } from '../web/test/setup.js';

const seconds = Number(process.argv[2] ?? 60);

/** Notes what each submission of a worker takes, in milliseconds, and how many pipelines were made before it. */
function watch() {
  const { submit } = GPUQueue.prototype;
  const { createComputePipeline } = GPUDevice.prototype;
  let before = 0;
  let made = 0;
  self.submissions = [];
  GPUDevice.prototype.createComputePipeline = function (described) {
    made += 1;
    return createComputePipeline.call(this, described);
  };
  GPUQueue.prototype.submit = function (commands) {
    const began = performance.now();
    const pipelines = made;
    made = 0;
    submit.call(this, commands);
    this.onSubmittedWorkDone().then(() => {
      const done = performance.now();
      self.submissions.push({ ms: done - Math.max(began, before), pipelines });
      before = done;
    });
  };
}

/** How many there are, and the median, the last percent and the longest of their times. */
function spread(submissions) {
  const times = submissions.map(({ ms }) => ms).sort((a, b) => a - b);
  const at = (share) => Math.round(10 * times[Math.min(times.length - 1, Math.floor(share * times.length))]) / 10;
  return times.length === 0 ? { count: 0 } : { count: times.length, median_ms: at(0.5), p99_ms: at(0.99), longest_ms: at(1) };
}

/** What `work` in the room `name` does to the page. */
async function room(name, work) {
  const page = await open('test/blank.html');
  const watched = [];
  page.on('worker', (worker) => watched.push(worker.evaluate(watch).then(() => worker)));
  await page.goto(new URL(`/index.html#${name}`, page.url()).href);
  const { clock, processor } = await mainThread(page, () => work(page));
  const submissions = [];
  for (const worker of await Promise.all(watched)) submissions.push(...(await worker.evaluate(() => self.submissions)));
  await page.context().close();
  return {
    longest_task_ms: clock,
    longest_task_processor_ms: processor,
    submissions: spread(submissions.filter(({ pipelines }) => pipelines === 0)),
    submissions_that_compile: spread(submissions.filter(({ pipelines }) => pipelines > 0)),
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
