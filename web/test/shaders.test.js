// Every shader through Dawn, the WebGPU of Chromium: its compiler proves what naga does not, such as barriers in uniform
// control flow. Dawn's null backend needs no driver and runs nothing.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const { create } = createRequire(`${root}target/tools/`)('webgpu');

test('Dawn takes every shader', async () => {
  const gpu = create(['backend=null']);
  const adapter = await gpu.requestAdapter();
  assert.ok(adapter?.features.has('shader-f16'), 'the null backend has f16');
  const device = await adapter.requestDevice({ requiredFeatures: ['shader-f16'] });
  const refusal = async (code) => {
    device.pushErrorScope('validation');
    device.createShaderModule({ code });
    return (await device.popErrorScope())?.message;
  };
  const folder = `${root}target/tmp/wgsl/`;
  const files = readdirSync(folder);
  assert.ok(files.length > 100, `${files.length} shaders`);
  for (const file of files) {
    assert.equal(await refusal(readFileSync(folder + file, 'utf8')), undefined, file);
  }
  // It does look.
  const uneven = 'if (i > 2u) { workgroupBarrier(); }';
  const head = '@compute @workgroup_size(8) fn main(@builtin(local_invocation_index) i: u32)';
  assert.match(await refusal(`${head} { ${uneven} }`), /uniform control flow/);
  device.destroy();
});
