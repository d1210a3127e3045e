// Families beside BERT's in the browser: an XLM-R of 250,037 tokens, and a small ModernBERT. Ids are Python's, and vectors the
// native ones.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BASE, ROOT, end, open, place, wgrad } from './setup.js';

after(end);

const golden = (...parts) => join(ROOT, 'tests/golden', ...parts);
const json = (...parts) => JSON.parse(readFileSync(golden(...parts), 'utf8'));
const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const cosine = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

/** A folder like the golden one of `family`, with another tokenizer, and tables with as many rows as `rows` says. */
function make(folder, family, tokenizer, keys, rows) {
  mkdirSync(folder);
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...json('families', family, 'config.json'), ...keys }));
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  const bytes = readFileSync(golden('families', family, 'model.safetensors'));
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, start));
  delete header.__metadata__;
  const parts = [];
  let [at, state] = [0, 1];
  for (const tensor of Object.values(header)) {
    const known = bytes.subarray(...tensor.data_offsets.map((offset) => start + offset));
    tensor.shape = tensor.shape.map((size, dimension) => (dimension === 0 && rows[size]) || size);
    const length = 4 * tensor.shape.reduce((a, b) => a * b);
    tensor.data_offsets = [at, (at += length)];
    // The rows that are there already stay, and the others are as good as random.
    const more = Float32Array.from({ length: (length - known.length) / 4 }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      return (0.5 * state) / 2 ** 31;
    });
    parts.push(known, Buffer.from(more.buffer));
  }
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(join(folder, 'model.safetensors'), Buffer.concat([size, text, ...parts]));
}

async function compare(name, tokenizer, more) {
  const lines = [...json('twenty_scripts', 'lines.json'), ...more.map(([text]) => text)];
  const ids = [...json('twenty_scripts', 'ids.json')[tokenizer], ...more.map(([, ids]) => ids)];
  const texts = [...lines.filter((_, i) => i % 6 === 0), ...more.map(([text]) => text)];
  const file = join(place, `${name}.jsonl`);
  writeFileSync(file, texts.map((text) => JSON.stringify({ text })).join('\n'));
  const native = wgrad('embed', '--model', join(place, name), '--input', file, '--pooling', 'mean', '--precision', 'f32');
  const expected = native.trim().split('\n').map((line) => JSON.parse(line).embedding);
  const page = await open();
  const found = await page.evaluate(
    async ([url, lines, texts]) => {
      const [how, vectors] = [{ pooling: 'mean', normalize: true }, {}];
      let ids;
      for (const dtype of ['fp32', 'fp16']) {
        const model = await w.pipeline('feature-extraction', url, { device: 'webgpu', dtype });
        ids ??= await model.tokenize(lines);
        vectors[dtype] = (await model(texts, how)).tolist();
        await model.dispose();
      }
      return { ids, vectors };
    },
    [`${BASE}place/${name}/`, lines, texts],
  );
  assert.deepEqual(found.ids, ids);
  for (const [dtype, vectors] of Object.entries(found.vectors)) {
    assert.equal(vectors.length, texts.length);
    const worst = Math.min(...vectors.map((vector, i) => cosine(vector, expected[i])));
    console.log(`${name}, ${dtype}: least cosine to the native vectors: ${worst}`);
    assert.ok(worst >= 0.9999, `${dtype}: ${worst}`);
  }
  // Texts differ, or nothing was compared.
  assert.ok(cosine(expected[0], expected[1]) < 0.999);
  await page.context().close();
}

test('an XLM-R of 250,037 tokens', async () => {
  const VOCABULARY = 250037;
  const tokenizer = json('twenty_scripts/unigram/tokenizer.json');
  const { vocab } = tokenizer.model;
  // Likelier than nothing that is there, so that the pieces of other texts stay what they are.
  while (vocab.length < VOCABULARY) vocab.push([`\u2581w${vocab.length}`, -9]);
  const keys = { vocab_size: VOCABULARY, max_position_embeddings: 514, pad_token_id: 1, bos_token_id: 0, eos_token_id: 2 };
  make(join(place, 'xlm-r'), 'xlm_roberta', tokenizer, keys, { 45: VOCABULARY, 28: 514 });
  await compare('xlm-r', 'unigram', [[`w${VOCABULARY - 1} w131072 w777`, [0, VOCABULARY - 1, 131072, 777, 2]]]);
});

test('a small ModernBERT', async () => {
  const tokenizer = json('twenty_scripts/modern/tokenizer.json');
  const id = (name) => tokenizer.added_tokens.find(({ content }) => content === name).id;
  const [pad, cls, sep] = ['[PAD]', '[CLS]', '[SEP]'].map(id);
  const keys = {
    vocab_size: 432, max_position_embeddings: 512, pad_token_id: pad, cls_token_id: cls, sep_token_id: sep, bos_token_id: cls, eos_token_id: sep,
  };
  make(join(place, 'modernbert'), 'modernbert', tokenizer, keys, { 45: 432 });
  await compare('modernbert', 'modern', []);
});
