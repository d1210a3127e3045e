// A model whose word embeddings are larger than WebGPU's bindings: 250,037 tokens of width 384.

import assert from 'node:assert/strict';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BASE, ROOT, end, open, place, wgrad } from './setup.js';

after(end);

const VOCABULARY = 250037;
const SIZES = { 400: VOCABULARY, 40: 384, 96: 256 };
const SPECIALS = ['[CLS]', '[MASK]', '[SEP]', '[PAD]', '[UNK]'];
const spelling = (id) => SPECIALS[id] ?? `w${id}`;

/** Words between spaces. */
function tokenizer() {
  const added = SPECIALS.map((content, id) => ({ id, content, special: true, single_word: false, lstrip: false, rstrip: false, normalized: false }));
  const special = (id) => ({ SpecialToken: { id, type_id: 0 } });
  const [a, b] = ['A', 'B'].map((id) => ({ Sequence: { id, type_id: 0 } }));
  return JSON.stringify({
    version: '1.0', truncation: null, padding: null, normalizer: null, decoder: null, added_tokens: added,
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: {
      type: 'TemplateProcessing', single: [special('[CLS]'), a, special('[SEP]')],
      pair: [special('[CLS]'), a, special('[SEP]'), b, special('[SEP]')],
      special_tokens: Object.fromEntries([[0, '[CLS]'], [2, '[SEP]']].map(([id, name]) => [name, { id: name, ids: [id], tokens: [name] }])),
    },
    model: { type: 'WordLevel', vocab: Object.fromEntries(Array.from({ length: VOCABULARY }, (_, id) => [spelling(id), id])), unk_token: '[UNK]' },
  });
}

/** A model shaped as the golden one, but larger, with weights as good as random. */
function make(folder) {
  mkdirSync(folder);
  const golden = join(ROOT, 'tests/golden/sentence_transformers');
  const config = JSON.parse(readFileSync(join(golden, 'config.json'), 'utf8'));
  Object.assign(config, { vocab_size: VOCABULARY, hidden_size: 384, intermediate_size: 256, num_attention_heads: 6, pad_token_id: 3 });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  writeFileSync(join(folder, 'tokenizer.json'), tokenizer());
  const bytes = readFileSync(join(golden, 'model.safetensors'));
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))));
  delete header.__metadata__;
  let at = 0;
  for (const tensor of Object.values(header)) {
    tensor.shape = tensor.shape.map((size) => SIZES[size] ?? size);
    const length = 4 * tensor.shape.reduce((a, b) => a * b);
    tensor.data_offsets = [at, (at += length)];
  }
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  const file = openSync(join(folder, 'model.safetensors'), 'w');
  writeSync(file, size);
  writeSync(file, text);
  let state = 1;
  for (const [name, { data_offsets: [start, end] }] of Object.entries(header)) {
    const scale = name.includes('word_embeddings') ? 1 : 0.1;
    const values = Float32Array.from({ length: (end - start) / 4 }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) | 0;
      return (scale * state) / 2 ** 31 + Number(name.endsWith('LayerNorm.weight'));
    });
    writeSync(file, Buffer.from(values.buffer));
  }
  closeSync(file);
}

test('vectors of a large vocabulary are the native ones', async () => {
  const folder = join(place, 'large');
  make(folder);
  const texts = [`w5 w87381 w174763 w${VOCABULARY - 1}`, `w${VOCABULARY - 1}`, 'w9 w8 w7'];
  const native = wgrad('embed', '--model', folder, ...texts).trim().split('\n').map((line) => JSON.parse(line).embedding);
  const page = await open();
  const found = await page.evaluate(
    async ([url, texts]) => {
      const model = await w.pipeline('feature-extraction', url, { device: 'webgpu', dtype: 'fp32' });
      return (await model(texts, { pooling: 'mean', normalize: true })).tolist();
    },
    [`${BASE}place/large/`, texts],
  );
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
  const cosine = (a, b) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const worst = Math.min(...found.map((vector, i) => cosine(vector, native[i])));
  console.log(`least cosine to the native vectors: ${worst}`);
  assert.ok(worst >= 0.99999);
  assert.ok(cosine(found[0], native[1]) < 0.9);
  await page.context().close();
});
