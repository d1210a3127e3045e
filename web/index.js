// wgrad in a page: models and training on WebGPU. Names follow transformers.js where there is the same thing.

import { client } from './lib/page.js';

export { env } from './lib/env.js';
export { chosenFiles, droppedFiles } from './lib/folder.js';
export { pipeline } from './lib/pipeline.js';
export { webgpuStatus } from './lib/support.js';
export { Tensor } from './lib/tensor.js';
export { Trainer } from './lib/trainer.js';

/** Ends the worker and frees all that it holds. What was loaded loads again when it is used. */
export const terminate = () => client.terminate();

/** What the browser's graphics adapter offers. */
export const deviceInfo = (options = {}) => client.call('device', { options });

/** A small made-up English, the text of `wgrad quickstart`: documents of `words` words, one a line. */
export const generateText = ({ words = 62, documents = 2000, seed = 1 } = {}) =>
  client.call('generate', { words, documents, seed });

/** The cosine of the angle between two vectors, from -1 to 1. */
export function cosine(a, b) {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return aa && bb ? dot / Math.sqrt(aa * bb) : 0;
}
