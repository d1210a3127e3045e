// The package in Node.js: the same, on the WebGPU of the npm package `webgpu`, with folders of the disk as addresses.

import { readFile, stat } from 'node:fs/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { setWorkerFactory } from './lib/client.js';
import { env } from './lib/env.js';

export * from './index.js';

/** Files of the disk as answers of a server: what is not there is a 404. */
async function fetchFile(url, { method } = {}) {
  try {
    const path = fileURLToPath(url);
    const { size, mtime } = await stat(path);
    const headers = { 'content-length': `${size}`, 'last-modified': mtime.toUTCString() };
    return new Response(method === 'HEAD' ? null : await readFile(path), { headers });
  } catch (error) {
    if (!['ENOENT', 'EISDIR', 'ENOTDIR'].includes(error.code)) throw error;
    return new Response('', { status: 404, statusText: 'Not Found' });
  }
}

env.base = pathToFileURL(`${process.cwd()}/`).href;
env.fetch = (url, init) => (String(url).startsWith('file:') ? fetchFile(url, init) : fetch(url, init));

/** A worker thread that looks to the page's side like a worker of a browser. */
setWorkerFactory(() => {
  const thread = new Worker(new URL('./node-worker.js', import.meta.url));
  // A program ends when its own work is done; a call that is waited for keeps it alive until then.
  thread.unref();
  let waited = 0;
  const worker = {
    onmessage: null,
    onerror: null,
    postMessage(message, transfer) {
      if (message.method && waited++ === 0) thread.ref();
      thread.postMessage(message, transfer);
    },
    terminate: () => thread.terminate(),
  };
  thread.on('message', (data) => {
    if (data.id !== undefined && !('event' in data) && --waited === 0) thread.unref();
    worker.onmessage?.({ data });
  });
  thread.on('error', (error) => worker.onerror?.({ message: error.message }));
  return worker;
});
