// What worker.js finds in a browser, for a thread of Node.js.

import { readFile } from 'node:fs/promises';
import { parentPort } from 'node:worker_threads';

globalThis.self = globalThis;
globalThis.onmessage = null;
globalThis.postMessage = (message, transfer) => parentPort.postMessage(message, transfer);
// The library asks whether it runs in a page or in a worker.
globalThis.WorkerGlobalScope = class WorkerGlobalScope {};
Object.setPrototypeOf(globalThis, WorkerGlobalScope.prototype);

let problem = null;
try {
  const { create, globals } = await import('webgpu');
  Object.assign(globalThis, globals);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu: create([]), userAgent: `Node.js/${process.versions.node}` }, configurable: true });
} catch (error) {
  problem = error;
  Object.defineProperty(globalThis, 'navigator', { value: {}, configurable: true });
}

// Node's own fetch reads no files.
const fetched = globalThis.fetch;
globalThis.fetch = async (url, init) =>
  String(url).startsWith('file:') ? new Response(await readFile(new URL(url)), { headers: { 'content-type': 'application/wasm' } }) : fetched(url, init);

await import('./worker.js');
parentPort.on('message', (data) => {
  if (problem && data.method && ['load', 'train', 'device', 'guess'].includes(data.method)) {
    const message = `there is no WebGPU in Node.js without the package webgpu: run npm install webgpu (${problem.message.split('\n')[0]})`;
    return parentPort.postMessage({ id: data.id, error: { name: 'NoWebGPU', message } });
  }
  return globalThis.onmessage({ data });
});
