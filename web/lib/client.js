// The page's side of the worker: calls with answers, events on the way, and a new worker when one has died.

import { named, unpacked } from './errors.js';

export class Client {
  #url;
  #worker = null;
  #pending = new Map();
  #next = 1;

  /** Raised with every new worker: what was loaded into an older one is gone. */
  generation = 0;

  constructor(url) {
    this.#url = url;
  }

  #start() {
    const worker = new Worker(this.#url, { type: 'module', name: 'wgrad' });
    this.#worker = worker;
    this.generation += 1;
    worker.onmessage = ({ data }) => this.#receive(worker, data);
    worker.onerror = (event) => {
      event.preventDefault?.();
      const why = event.message || 'its files could not be loaded (are they built and served?)';
      this.#end(worker, named('WorkerEnded', `the worker stopped: ${why}`));
    };
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
    const call = this.#pending.get(data.id);
    if (!call) return;
    if ('event' in data) {
      call.onEvent?.(data.event);
      return;
    }
    this.#pending.delete(data.id);
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
    worker.terminate();
    const calls = [...this.#pending.values()];
    this.#pending.clear();
    for (const call of calls) call.reject(error);
  }

  /** Ends the worker. Calls in flight fail; a later call starts another. */
  terminate() {
    if (this.#worker) this.#end(this.#worker, named('WorkerEnded', 'the worker was ended'));
  }

  /** Calls a method of the worker; `onEvent` hears what happens on the way. */
  call(method, params = {}, { onEvent, transfer = [] } = {}) {
    if (!this.#worker) this.#start();
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject, onEvent });
      this.#worker.postMessage({ id, method, params }, transfer);
    });
  }
}
