// A model's reference vectors: whether the adapter computes right, and what is said when it does not.

import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BASE, GOLDEN, ROOT, asked, end, open, packed, place, thrown, wgrad } from './setup.js';

after(end);

const FILE = 'reference_vectors.json';

/** A copy of the golden folder with its reference vectors, changed by `change`. */
function folder(name, change = (reference) => reference) {
  const made = join(place, name);
  cpSync(join(ROOT, 'tests/golden/sentence_transformers'), made, { recursive: true });
  if (name !== 'right') cpSync(join(place, 'right', FILE), join(made, FILE));
  else wgrad('embed', '--model', made, '--reference');
  const reference = JSON.parse(readFileSync(join(made, FILE), 'utf8'));
  writeFileSync(join(made, FILE), JSON.stringify(change(reference)));
  return `${BASE}place/${name}/`;
}
const right = folder('right');
cpSync(join(ROOT, 'tests/golden/hugging_face'), join(place, 'head'), { recursive: true });
wgrad('embed', '--model', 'head', '--reference');
const wrong = folder('wrong', (reference) => {
  reference.vectors[6] = reference.vectors[6].map((value) => -value);
  return reference;
});
const stale = folder('stale', (reference) => {
  reference.files['model.safetensors'].crc32 = '00000000';
  return reference;
});
const newer = folder('newer', () => ({ format: 2 }));

/** What a pipeline with `options` says of the adapter, and what it warns of. */
const verified = ([task, model, options]) =>
  (async () => {
    const warnings = [];
    const told = ({ status, message }) => status === 'warning' && warnings.push(message);
    const files = typeof model === 'string' ? model : toFiles(model);
    const call = await w.pipeline(task, files, { ...options, progress_callback: told });
    await call('the old [MASK] is green .');
    return { verified: call.verified, warnings };
  })();

test('an adapter is held against the reference vectors of the program', async () => {
  const page = await open();
  const run = (...what) => page.evaluate(verified, what);
  for (const [task, model, dtype] of [
    ['feature-extraction', right, 'fp32'],
    ['feature-extraction', right, 'fp16'],
    ['attention', right, 'fp32'],
    ['fill-mask', packed(join(place, 'head')), 'fp32'],
    ['feature-extraction', packed(join(place, 'right')), 'fp32'],
  ]) {
    const { verified: found } = await run(task, model, { verify: true, dtype });
    console.log(`${task}, ${found.precision}: cosine ${found.cosine}, difference ${found.difference.toExponential(1)}`);
    assert.equal(found.texts, 10);
    assert.ok(found.cosine >= found.tolerance.cosine && found.difference <= found.tolerance.difference);
  }

  // Nobody need have the file, and nobody need ask for it.
  assert.deepEqual(await run('feature-extraction', GOLDEN, { verify: true }), { verified: null, warnings: [] });
  const before = asked.length;
  assert.deepEqual(await run('feature-extraction', wrong, {}), { verified: null, warnings: [] });
  assert.ok(!asked.slice(before).some((path) => path.endsWith(FILE)));

  for (const [model, why] of [[stale, /another model.*model\.safetensors has changed/], [newer, /not checked.*made by a newer wgrad: reference vectors of format 2, this one reads up to 1/]]) {
    const found = await run('feature-extraction', model, { verify: true });
    assert.equal(found.verified, null);
    assert.match(found.warnings.join(), why);
  }
  for (const task of ['feature-extraction', 'attention']) {
    const error = await thrown(page, verified, [task, wrong, { verify: true }]);
    assert.equal(error.name, 'WrongResult');
    assert.match(error.message, /computes wrong: expected the vectors of reference_vectors\.json.*found a cosine of -1.*driver/);
  }
  // A folder that says nothing of embedding that is known here can be looked into all the same.
  const odd = packed(join(place, 'right')).map(([path, text]) => [path, path === 'modules.json' ? btoa('[{"path": "", "type": "a.Dense"}]') : text]);
  const looked = await run('attention', odd, { verify: true });
  assert.equal(looked.verified, null);
  assert.match(looked.warnings.join(), /not checked.*Dense/);
  // The worker is as good as before.
  assert.ok((await run('feature-extraction', right, { verify: true })).verified);
  await page.context().close();
});

test('the page says when this GPU computes wrong', async () => {
  const page = await open(`index.html?model=${encodeURIComponent(wrong)}#search`);
  await page.waitForSelector('#search-model .hint.bad', { timeout: 120_000 });
  assert.match(await page.textContent('#search-model .hint.bad'), /This GPU computes wrong, so nothing is answered.*found a cosine of -1/);
  assert.equal(await page.locator('#answers li').count(), 0, 'it does not answer');
  await page.screenshot({ path: join(ROOT, 'target/web-pictures/wrong.png') });
  await page.fill('#search-model .address', right);
  await page.click('#search-model .own button');
  await page.waitForSelector('#search-model[data-verified=true]', { timeout: 120_000 });
  await page.waitForSelector('#answers li');
  await page.context().close();
});
