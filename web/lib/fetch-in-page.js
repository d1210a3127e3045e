// `env.fetch`: files of models fetched by a function of the page, which cannot be sent to the worker. The worker asks,
// the page answers piece by piece.

import { env } from './env.js';
import { named, packed } from './errors.js';

/** In the page: fetches what the worker asked for, and sends the answer back. */
export async function answerFetch(worker, { number, url, headers, method, cache }) {
  const send = (what, transfer = []) => worker.postMessage({ fetched: { number, ...what } }, transfer);
  try {
    const response = await (env.fetch ?? fetch)(url, { headers, method, cache });
    send({ head: { status: response.status, statusText: response.statusText, headers: [...response.headers] } });
    if (response.body) {
      for (const reader = response.body.getReader(); ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        // A copy: what the page's function keeps must not be taken from it.
        const bytes = value.slice();
        send({ bytes }, [bytes.buffer]);
      }
    }
    send({ end: true });
  } catch (error) {
    send({ error: packed(error) });
  }
}

const waiting = new Map();
let next = 1;

/** In the worker: `fetch`, done by the page. */
export function fetchInPage(url, { headers = {}, method = 'GET', cache } = {}) {
  const number = next++;
  return new Promise((resolve, reject) => {
    let body;
    const stream = new ReadableStream({ start: (controller) => (body = controller), cancel: () => waiting.delete(number) });
    waiting.set(number, ({ head, bytes, end, error }) => {
      if (head) {
        const { status, ...rest } = head;
        const empty = [101, 204, 205, 304].includes(status) || method === 'HEAD';
        resolve(new Response(empty ? null : stream, { status, ...rest }));
      }
      if (bytes) body.enqueue(bytes);
      if (end || error) waiting.delete(number);
      if (end) body.close();
      if (error) {
        const failed = named(error.name, error.message);
        reject(failed);
        body.error(failed);
      }
    });
    postMessage({ fetch: { number, url, headers, method, cache } });
  });
}

/** In the worker: a piece of an answer has come. */
export const heard = ({ number, ...what }) => waiting.get(number)?.(what);
