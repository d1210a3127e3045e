// The page's side of the worker: calls with answers, events on the way, and a new worker when one has died.

import { env } from './env.js';
import { named, unpacked } from './errors.js';
import { answerFetch } from './fetch-in-page.js';

let factory = null;
/** Has workers made by `make(env)`, where the platform's own are of another kind. */
export const setWorkerFactory = (make) => (factory = make);

/** A worker whose script is on another origin: browsers start only a script of the page's own, which may import it. */
function fromElsewhere(url) {
  const script = URL.createObjectURL(new Blob([`import ${JSON.stringify(url)};`], { type: 'text/javascript' }));
  const worker = new Worker(script, { type: 'module', name: 'wgrad' });
  setTimeout(() => URL.revokeObjectURL(script), 60_000);
  return worker;
}

function fromUrl(url) {
  const { href, origin, protocol } = new URL(url, globalThis.document?.baseURI ?? globalThis.location?.href);
  const own = origin === globalThis.location?.origin || protocol === 'blob:' || protocol === 'data:';
  return own ? new Worker(href, { type: 'module', name: 'wgrad' }) : fromElsewhere(href);
}

function newWorker() {
  if (factory) return factory(env);
  if (typeof Worker === 'undefined') {
    throw named('NoWorker', 'expected a browser, which has Worker, found none: in Node.js, import this package by its name, and install the package webgpu beside it');
  }
  if (env.workerUrl) return fromUrl(env.workerUrl);
  const here = import.meta.url;
  // As it came, from another origin: a CDN. A bundle has another name, and an address that means nothing to the page.
  if (/^https?:.*\/lib\/client\.js(\?|$)/.test(here) && new URL(here).origin !== globalThis.location?.origin) {
    return fromUrl(new URL(['..', 'worker.js'].join('/'), here));
  }
  // Vite's development server moves this package's page side into one file, away from the worker that it does not know.
  const moved = here.match(/^(.*\/node_modules\/)\.vite\/deps/);
  if (moved) return fromUrl(`${moved[1]}wgrad/worker.js`);
  // Written out, because this is the form that bundlers know and replace.
  return new Worker(new URL('../worker.js', import.meta.url), { type: 'module', name: 'wgrad' });
}

export class Client {
  #worker = null;
  #pending = new Map();
  #next = 1;

  /** Raised with the end of every worker: what was loaded into it is gone. */
  generation = 0;

  #start() {
    const worker = newWorker();
    this.#worker = worker;
    worker.onmessage = ({ data }) => this.#receive(worker, data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      const why = event.message || 'its files could not be loaded (are they built and served? a bundler must know of them: see docs/web.md)';
      this.#end(worker, named('WorkerEnded', `the worker stopped: ${why}`));
    };
    worker.postMessage({ begin: { wasmUrl: env.wasmUrl ? new URL(env.wasmUrl, globalThis.document?.baseURI).href : null } });
  }

  #receive(worker, data) {
    if (worker !== this.#worker) return;
    if (data.alive) {
      // The worker holds this lock as long as it lives, so getting it means that it died, however it did.
      navigator.locks
        .request(data.alive, () => this.#end(worker, named('WorkerEnded', 'the worker ended: try again')))
        .catch(() => {});
      return;
    }
    if (data.fetch) {
      answerFetch(worker, data.fetch);
      return;
    }
    const call = this.#pending.get(data.id);
    if (!call) return;
    if ('event' in data) {
      // A listener that throws is told of like any other, and harms no call.
      if (!call.dropped) try { call.onEvent?.(data.event); } catch (error) { reportError(error); }
      return;
    }
    this.#pending.delete(data.id);
    call.forget();
    if (call.dropped && data.result?.handle) this.call('unload', { handle: data.result.handle }).catch(() => {});
    if (!data.error) {
      call.resolve(data.result);
      return;
    }
    call.reject(unpacked(data.error));
    if (data.fatal) this.#end(worker, named('WorkerEnded', 'the worker was started anew: try again'));
  }

  #end(worker, error) {
    if (worker !== this.#worker) return;
    this.#worker = null;
    this.generation += 1;
    worker.terminate();
    const calls = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of calls) {
      call.forget();
      call.reject(error);
    }
  }

  /** Ends the worker. Calls in flight fail; a later call starts another. */
  terminate() {
    if (this.#worker) this.#end(this.#worker, named('WorkerEnded', 'the worker was ended'));
  }

  /**
   * Calls a method of the worker; `onEvent` hears what happens on the way. An aborted `signal` rejects the call at once
   * and tells the worker, which stops at the next place where it can.
   */
  async call(method, params = {}, { onEvent, transfer = [], signal } = {}) {
    signal?.throwIfAborted();
    if (!this.#worker) this.#start();
    const id = this.#next++;
    const worker = this.#worker;
    return new Promise((resolve, reject) => {
      const dropped = () => {
        this.#pending.get(id).dropped = true;
        worker.postMessage({ id, cancel: true });
        reject(signal.reason);
      };
      signal?.addEventListener('abort', dropped, { once: true });
      this.#pending.set(id, { resolve, reject, onEvent, dropped: false, forget: () => signal?.removeEventListener('abort', dropped) });
      try {
        worker.postMessage({ id, method, params }, transfer);
      } catch (error) {
        // Something in the parameters that cannot be sent, a function for instance.
        this.#pending.delete(id);
        reject(named('ConfigError', `${method}: expected numbers, texts, files and plain objects, found what cannot be sent to the worker (${error.message})`));
      }
    });
  }
}
