// Sentences per second in the browser: wgrad against transformers.js, the same model, texts, browser and adapter.
//
//   scripts/build-web && scripts/fetch-minilm
//   npm install --prefix target/tools --ignore-scripts playwright-core @huggingface/transformers
//   node benches/peers/web-embed.mjs [SENTENCES]
//
// transformers.js wants ONNX: MINILM_ONNX names a folder with `onnx/model.onnx` beside the tokenizer's and the
// model's JSON files, as the Hugging Face repositories `Xenova/all-MiniLM-L6-v2` and `onnx-community/…` have them.
// Each side runs in a page of its own, first once to warm up, then three times in turn; the median counts.

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serve } from '../../web/test/serve.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const TOOLS = join(ROOT, 'target/tools/node_modules');
const { chromium } = createRequire(join(ROOT, 'target/tools/'))('playwright-core');
const count = Number(process.argv[2] ?? 32);
const onnx = process.env.MINILM_ONNX ?? join(ROOT, 'data/minilm-onnx');
const theirs = existsSync(join(onnx, 'onnx/model.onnx'));

const all = JSON.parse(readFileSync(join(ROOT, 'tests/golden/sentences.json'), 'utf8'));
const texts = all.filter((text) => text.length > 20 && text.length < 200).slice(0, count);

const server = await serve({
  '/': join(ROOT, 'web'),
  '/minilm/': join(ROOT, 'data/minilm'),
  '/models/minilm/': onnx,
  '/node_modules/': TOOLS,
});
const base = `http://localhost:${server.address().port}/`;
const flags = '--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --enable-unsafe-webgpu';
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: flags.split(' ') });

async function side(load) {
  const page = await (await browser.newContext()).newPage();
  await page.goto(`${base}test/blank.html`);
  await page.evaluate(load, base);
  const run = (list) =>
    page.evaluate(async (texts) => {
      const began = performance.now();
      const vectors = (await embed(texts, { pooling: 'mean', normalize: true })).tolist();
      return { seconds: (performance.now() - began) / 1000, vectors };
    }, list);
  /** From an empty page with the model in the cache to the first vector. */
  const cold = async () => {
    await page.reload();
    const began = performance.now();
    await page.evaluate(load, base);
    await run(texts.slice(0, 1));
    return (performance.now() - began) / 1000;
  };
  return { run, cold };
}

const ours = await side(async (base) => {
  const { pipeline } = await import(`${base}index.js`);
  window.embed = await pipeline('feature-extraction', `${base}minilm/`);
});
const peer = theirs
  ? await side(async (base) => {
      const { env, pipeline } = await import(`${base}node_modules/@huggingface/transformers/dist/transformers.min.js`);
      env.allowRemoteModels = false;
      env.allowLocalModels = true;
      env.localModelPath = '/models/';
      env.backends.onnx.wasm.wasmPaths = `${base}node_modules/onnxruntime-web/dist/`;
      window.embed = await pipeline('feature-extraction', 'minilm', { device: 'webgpu', dtype: 'fp32' });
    })
  : null;
if (!peer) console.error(`no ${onnx}/onnx/model.onnx: transformers.js is left out (see the head of this file)`);

const sides = [['wgrad', ours], ...(peer ? [['transformers.js', peer]] : [])];
const found = new Map(sides.map(([name]) => [name, { seconds: [] }]));
for (const [name, { run }] of sides) found.get(name).vectors = (await run(texts)).vectors;
for (let round = 0; round < 3; round++) {
  for (const [name, { run }] of sides) found.get(name).seconds.push((await run(texts)).seconds);
}
const result = { sentences: texts.length };
for (const [name, { cold }] of sides) {
  const { seconds } = found.get(name);
  const median = seconds.sort((a, b) => a - b)[1];
  result[name] = { sentences_per_second: texts.length / median, first_vector_after_reload_seconds: await cold() };
}
if (peer) {
  const [a, b] = sides.map(([name]) => found.get(name).vectors);
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  result.least_cosine = Math.min(...a.map((vector, i) => dot(vector, b[i])));
  result.ratio = result.wgrad.sentences_per_second / result['transformers.js'].sentences_per_second;
}
console.log(JSON.stringify(result, null, 2));
await browser.close();
server.closeAllConnections();
server.close();
