/** Settings for all that follows. Change them before the first call. */
export const env = {
  /** The worker's script, for pages that serve it elsewhere; by default what lies beside this package. */
  workerUrl: null,
  /** `wgrad_bg.wasm`, for pages that serve it elsewhere; by default what lies beside the worker. */
  wasmUrl: null,
  /** What relative addresses of models are relative to; by default the page's address. */
  base: null,
  /** Where names such as `sentence-transformers/all-MiniLM-L6-v2` are looked up: Hugging Face, or a mirror of it. */
  remoteHost: 'https://huggingface.co/',
  /** Where below that the files of a model are. */
  remotePathTemplate: '{model}/resolve/{revision}/',
  /** Whether files of models are kept for the next visit; a text names the cache to keep them in. */
  cache: true,
  /** Fetches files of models in place of the browser's `fetch`, with the same arguments and answer; called in the page. */
  fetch: null,
};
