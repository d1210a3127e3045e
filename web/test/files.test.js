// Which files of a model reach a page. Needs no browser: the answers of a server are made up.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { downloadModel } from '../lib/download.js';

const GOLDEN = fileURLToPath(new URL('../../tests/golden/sentence_transformers/', import.meta.url));

/** What is asked for, and what arrives, of the golden folder without the files `without`. */
async function downloaded({ without = [], changed = {}, verify = false } = {}) {
  const asked = [];
  globalThis.fetch = async (url) => {
    const name = new URL(url).pathname.slice('/m/'.length);
    asked.push(name);
    try {
      if (changed[name]) return new Response(changed[name]);
      if (without.includes(name)) throw new Error('left out');
      return new Response(readFileSync(join(GOLDEN, name)));
    } catch {
      return new Response('', { status: 404 });
    }
  };
  const files = await downloadModel('http://localhost/m/', { verify, report() {} });
  return { asked: asked.sort(), arrived: [...files.keys()].sort() };
}

test('everything that says how to embed arrives', async () => {
  const { asked, arrived } = await downloaded({ verify: true });
  assert.deepEqual(arrived, [
    '1_Pooling/config.json', '2_Normalize/config.json', 'config.json', 'config_sentence_transformers.json',
    'model.safetensors', 'modules.json', 'sentence_bert_config.json', 'tokenizer.json', 'tokenizer_config.json',
  ]);
  assert.deepEqual(asked, [...arrived, 'reference_vectors.json', 'special_tokens_map.json'].sort());
});

test('the list of modules says where their files are', async () => {
  const modules = [['', 'Transformer'], ['pool', 'Pooling'], ['a/dense', 'Dense'], ['../up', 'Dense']];
  const list = modules.map(([path, kind]) => ({ path, type: `sentence_transformers.models.${kind}` }));
  const { asked } = await downloaded({ changed: { 'modules.json': JSON.stringify(list) } });
  const below = asked.filter((name) => name.includes('/'));
  assert.deepEqual(below, ['a/dense/config.json', 'a/dense/model.safetensors', 'pool/config.json']);
});

test('of a model that is no sentence embedder nothing more is asked for', async () => {
  const { arrived, asked } = await downloaded({ without: ['modules.json'] });
  assert.deepEqual(arrived, ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
  assert.deepEqual(asked, [...arrived, 'modules.json', 'special_tokens_map.json'].sort());
});

test('a model without what it needs is refused by name', async () => {
  for (const name of ['config.json', 'tokenizer.json']) {
    await assert.rejects(downloaded({ without: [name] }), (error) => error.message.includes(`/m/${name}`));
  }
  await assert.rejects(downloaded({ without: ['model.safetensors'] }), /has no model\.safetensors/);
});
