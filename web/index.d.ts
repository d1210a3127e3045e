/** Files of a folder: paths with their contents. `droppedFiles` and `chosenFiles` make them. */
export type Files = Array<[path: string, content: Blob | Uint8Array]>;

/**
 * A model: its name on Hugging Face (`sentence-transformers/all-MiniLM-L6-v2`), the address of its folder or of a zip
 * archive, relative ones too (`./models/mine/`), its files, in any of the forms that a page has them in, or another
 * pipeline, whose model is then asked for one more task. Its files are not fetched again, and a head that is opened from
 * an embedder (`feature-extraction`) shares its weights; other tasks have weights of their own. `dtype`, `kind`, `verify`,
 * `hashes`, `revision` and `token` were said where it was loaded, and are refused here.
 */
export type ModelSource =
  | string
  | URL
  | Files
  | Blob
  | Iterable<File>
  | FileSystemDirectoryHandle
  | Record<string, Blob | Uint8Array>
  | Pipeline;

/** What happens while a model is loaded. `status` is as in transformers.js, with `verify` and `warning` beside it. */
export interface ProgressEvent {
  /** `progress_total` sums up all files that are known of. */
  status: 'initiate' | 'download' | 'progress' | 'progress_total' | 'done' | 'verify' | 'ready' | 'warning';
  /** The address of the model. */
  name?: string;
  file?: string;
  /** Bytes. */
  loaded?: number;
  total?: number;
  /** 0 to 100. */
  progress?: number;
  /** Whether the file came from the cache. */
  cached?: boolean;
  /** Whether the server does not have the file, which it need not. */
  missing?: boolean;
  message?: string;
  task?: string;
  model?: string;
}

/** What can be given up. An aborted call rejects with the signal's reason, an `AbortError`. */
export interface Abortable {
  signal?: AbortSignal;
}

export interface PipelineOptions extends Abortable {
  device?: 'webgpu';
  /** A branch, tag or commit of a model on Hugging Face; `main` by default. */
  revision?: string;
  /** A token of Hugging Face, for models that want one. It is sent to `env.remoteHost` alone. */
  token?: string;
  /** fp16 keeps the weights and activations of embeddings, classes and labels of words as f16 where the adapter has it; elsewhere f32, and said. */
  dtype?: 'fp32' | 'fp16' | 'auto';
  progress_callback?: (event: ProgressEvent) => void;
  /** The SHA-256 that files must have, hexadecimal, by name. */
  hashes?: Record<string, string>;
  /** Kernels for GPUs or for adapters that are CPUs; the adapter decides by default. */
  kind?: 'plain' | 'software';
  /**
   * Compares the adapter's vectors of ten texts with the model's `reference_vectors.json`, if it has one, and rejects
   * with an error named `WrongResult` when they differ. False by default.
   */
  verify?: boolean;
}

/** An adapter's vectors beside a model's reference vectors. */
export interface Comparison {
  /** How many texts were compared. */
  texts: number;
  /** The least cosine of a text's two vectors. */
  cosine: number;
  /** The largest difference of two elements, as a share of the vector's length. */
  difference: number;
  /** What was allowed. */
  tolerance: { cosine: number; difference: number };
  precision: 'f32' | 'f16';
  /** The adapter, and the one that computed the reference. */
  device: string;
  reference_device: string;
}

/** What all pipelines have. */
export interface Pipeline {
  task: string;
  /** With `verify`, how the adapter compared; null where the model has no reference vectors, or they are of another model. */
  verified: Comparison | null;
  /** Gives up what is running, which rejects with an error named `Disposed`, and frees the model. */
  dispose(): Promise<void>;
}

/** Nested lists of numbers. */
export type Nested = number[] | Nested[];

/** Numbers with a shape, row-major. `List` is what `tolist` gives. */
export class Tensor<List = Nested> {
  constructor(data: Float32Array, dims: number[]);
  data: Float32Array;
  dims: number[];
  tolist(): List;
}

/** How the vectors of a text's tokens become one; several stand side by side. */
export type Pooling = 'mean' | 'cls' | 'max' | 'mean_sqrt_len' | 'weighted_mean' | 'last_token';

export interface FeatureExtraction extends Pipeline {
  /** What the model's folder has to put in front of texts, by its name. */
  readonly prompts: Record<string, string>;
  /** The name of the one that is put there where none is asked for. */
  readonly default_prompt: string | null;
  /** What the head of a finetuned model tells apart, by the task `text-classification`; none where there is no such head. */
  readonly labels: string[];
  /** Whether the folder has a head that labels words, by the task `token-classification`. */
  readonly tags: boolean;
  /** One vector per text, `[texts, width]`. `truncated` counts the texts that were longer than the model sees. */
  (
    texts: string | string[],
    options?: {
      /** What the model's folder says by default. */
      pooling?: Pooling | Pooling[];
      normalize?: boolean;
      /** Put in front of each text; `''` is nothing. What the model's folder says by default. */
      prompt?: string;
      /** The model's own prompt of this name: see `prompts`. */
      prompt_name?: string;
      /** How many numbers of a vector are kept; it is then divided by its length, unless `normalize` is false. */
      dimensions?: number;
      progress_callback?: (event: { status: string; done: number; total: number }) => void;
    } & Abortable,
  ): Promise<Tensor<number[][]> & { truncated: number }>;
  tokenize(texts: string | string[], options?: Abortable): Promise<number[][]>;
}

/** A class with its probability. A model that gives a number has one label, and the number as its score. */
export interface Classified {
  label: string;
  score: number;
}

/** `truncated` counts the texts that were longer than the model sees. */
export type ClassifiedList<T> = T[] & { truncated: number };

/** A text, or two that the model reads together. */
export type TextOrPair = string | { text: string; text_pair?: string | null };

export interface TextClassification extends Pipeline {
  /** The names of the classes, in the model's order. */
  readonly labels: string[];
  /** The likeliest class, as a list of one; with `top_k` so many of them, all with null, the likeliest first. */
  (text: TextOrPair, options?: ClassifyOptions): Promise<ClassifiedList<Classified>>;
  /** One answer for each text; with a `top_k` other than 1 a list of them for each. */
  (texts: TextOrPair[], options?: ClassifyOptions & { top_k?: 1 }): Promise<ClassifiedList<Classified>>;
  (texts: TextOrPair[], options: ClassifyOptions): Promise<ClassifiedList<Classified[]>>;
}

export interface ClassifyOptions extends Abortable {
  /** 1 by default. */
  top_k?: number | null;
  progress_callback?: (event: { status: string; done: number; total: number }) => void;
}

/** Words of a text that belong together: `text.slice(start, end)` is `word`. */
export interface Entity {
  /** What they are: `PER` where the model says `B-PER` and `I-PER`. */
  entity_group: string;
  /** The mean over the words of the probability of the label of each. */
  score: number;
  word: string;
  start: number;
  end: number;
}

export interface TagOptions extends Abortable {
  progress_callback?: (event: { status: string; done: number; total: number }) => void;
}

/** `truncated` counts the texts that were longer than the model sees; nothing is found in what was cut off. */
export interface TokenClassification extends Pipeline {
  (text: string, options?: TagOptions): Promise<ClassifiedList<Entity>>;
  (texts: string[], options?: TagOptions): Promise<ClassifiedList<Entity[]>>;
}

export interface MaskGuess {
  /** A probability. */
  score: number;
  token: number;
  token_str: string;
  /** The text with this guess, and where there are several masks, the likeliest ones in the others. */
  sequence: string;
}

export interface FillMask extends Pipeline {
  /** Guesses for a text with one `[MASK]`; for a text with several, or for several texts, a list of such lists. */
  (text: string, options?: { top_k?: number } & Abortable): Promise<MaskGuess[] | MaskGuess[][]>;
  (texts: string[], options?: { top_k?: number } & Abortable): Promise<Array<MaskGuess[] | MaskGuess[][]>>;
}

/** One position of a text as the model sees it. */
export interface AttendedToken {
  id: number;
  /** As the vocabulary spells it: `##ing`, `[CLS]`. */
  label: string;
  /** The part of the text that it stands for; empty for `[CLS]` and `[SEP]`. */
  text: string;
  space_before: boolean;
  special: boolean;
  /** Of which text it is: 0, or 1 for the second of a pair. */
  part: number;
}

/** `[layers, heads, tokens, tokens]`: how much of its attention the token of a row gives to that of a column. */
export interface AttentionMap extends Tensor<number[][][][]> {
  layers: number;
  heads: number;
  tokens: AttendedToken[];
  /** How many tokens were cut off, because the text was longer than the model sees. */
  truncated: number;
  /** One head, `[tokens, tokens]`; both counted from 0. A row sums to 1. */
  head(layer: number, head: number): Tensor<number[][]>;
}

export interface Attention extends Pipeline {
  /** Where the model looks in a text, or in a pair of texts. */
  (text: string, options?: { pair?: string } & Abortable): Promise<AttentionMap>;
}

/** Loads a model: by its name, from an address, or from its files. */
export function pipeline(task: 'feature-extraction', model: ModelSource, options?: PipelineOptions): Promise<FeatureExtraction>;
export function pipeline(task: 'text-classification', model: ModelSource, options?: PipelineOptions): Promise<TextClassification>;
export function pipeline(task: 'token-classification', model: ModelSource, options?: PipelineOptions): Promise<TokenClassification>;
export function pipeline(task: 'attention', model: ModelSource, options?: PipelineOptions): Promise<Attention>;
export function pipeline(task: 'fill-mask', model: ModelSource, options?: PipelineOptions): Promise<FillMask>;

/** A row of `metrics.jsonl`. */
export interface Row {
  step: number;
  sequences: number;
  tokens: number;
  /** Nats per hidden token; null before the first step. */
  loss: number | null;
  accuracy: number | null;
  held_out_loss: number | null;
  held_out_accuracy: number | null;
  lr: number;
  batch_sequences: number;
  grad_norm: number | null;
  skipped_steps: number;
  tokens_per_second: number;
  seconds: number;
}

export interface Summary {
  interrupted: boolean;
  steps: number;
  total_steps: number;
  loss: number | null;
  held_out_loss: number | null;
  unigram_entropy: number | null;
  parameters: number;
  seconds: number;
  tokens_per_second: number;
}

export interface TrainerOptions extends Abortable {
  /** A recipe by name, `micro` by default. */
  preset?: 'micro' | 'tiny' | 'small' | 'notebook';
  steps?: number;
  /** Sequences a step, fewer where the text has no more. */
  batch?: number;
  /** Of the vocabulary's data: which sequences are held out. */
  seed?: number;
  /** Keys of the recipe, `['learning_rate=1e-3']`. */
  set?: string[];
  /** 256 to 65,536; 2048 by default. */
  vocabulary?: number;
  /** Tokens of a sequence, 10 to 4096; 64 by default. */
  seqLen?: number;
  /** Let documents share sequences. */
  join?: boolean;
  /** Fill sequences with several documents that do not see each other. */
  pack?: boolean;
  /** A share of the documents below 1, or a number of sequences, to measure on. */
  heldOut?: number;
  /** What one document of the text is. */
  documents?: 'line' | 'paragraph';
  aboutData?: string;
  kind?: 'plain' | 'software';
  allowChanges?: boolean;
  /** A name, not kept yet, under which the browser keeps the run from its first checkpoint on: see `Trainer.kept`. */
  keep?: string;
  progress_callback?: (event: { status: string }) => void;
}

/** A run that the browser keeps in its private files. */
export interface KeptRun {
  name: string;
  /** Steps done, and steps in all. */
  step: number;
  totalSteps: number;
  /** When it was kept, in milliseconds as of `Date.now()`. */
  saved: number;
  /** Whether a tab, or another `Trainer`, has it at the moment. */
  inUse: boolean;
}

/** What a trainer's events have as their `detail`. */
export interface TrainerEvents {
  ready: { event: 'ready'; step: number; total_steps: number; device: string; parameters: number; unigram_entropy: number | null };
  step: { event: 'step'; row: Row };
  measuring: { event: 'measuring'; done: number; total: number };
  checkpoint: { event: 'checkpoint'; step: number; path: string };
  /** The browser has the run as it was after this step. */
  kept: { event: 'kept'; step: number };
  /** It has not, though it was asked to: why. */
  'not-kept': { event: 'not-kept'; text: string };
  warning: { event: 'warning'; text: string };
  'device-lost': { event: 'device-lost'; step: number; text: string };
}

export interface FilledMasks {
  text: string;
  masks: Array<{ candidates: Array<{ id: number; token: string; text: string; probability: number }> }>;
}

/** Pretrains a small BERT. */
export class Trainer extends EventTarget {
  private constructor();
  static create(text: string | Exclude<ModelSource, Pipeline>, options?: TrainerOptions): Promise<Trainer>;
  /** Goes on with the run in a folder, on its `data/` or on `text`. */
  static resume(files: Exclude<ModelSource, string | URL | Pipeline>, options?: TrainerOptions & { text?: string | Files }): Promise<Trainer>;
  /** The runs that this browser keeps, the newest first. */
  static kept(): Promise<KeptRun[]>;
  /** Goes on with one of them, from its newest whole checkpoint. */
  static restore(name: string, options?: Omit<TrainerOptions, 'keep'>): Promise<Trainer>;
  /** Removes one of them. */
  static forget(name: string): Promise<void>;
  /** What `wgrad data prepare --json` says of the text; null where a run brought its data. */
  readonly data: Record<string, unknown> | null;
  /** The recipe of a run that is gone on with. */
  readonly recipe: Record<string, unknown> | null;
  /** What a run that is gone on with has done so far. */
  readonly rows: Row[];
  /** The loss of guessing by word frequency, in nats. */
  readonly unigramEntropy: number | null;
  /** Steps done and steps in all of a run that is gone on with, as it was taken over. */
  readonly done: number;
  readonly totalSteps: number | null;
  /** Why the browser does not have what it was asked to `keep`; null where it has, or was not asked. */
  readonly notKept: string | null;
  readonly training: boolean;
  /**
   * Trains to the last step or until `pause()`; called again, it goes on. `steps` makes the run longer or shorter, and its
   * schedule anew; while it trains they are refused. An aborted signal stops it as `pause` does.
   */
  train(options?: { steps?: number } & Abortable): Promise<Summary>;
  pause(): Promise<void>;
  /** Guesses with the newest checkpoint. */
  fillMask(text: string, options?: { top_k?: number } & Abortable): Promise<FilledMasks>;
  files(): Promise<Array<[string, Uint8Array]>>;
  zip(name?: string): Promise<Blob>;
  /** Stops after the steps under way and frees the run. */
  dispose(): Promise<void>;
  addEventListener<K extends keyof TrainerEvents>(type: K, listener: (event: CustomEvent<TrainerEvents[K]>) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

export function generateText(options?: { words?: number; documents?: number; seed?: number }): Promise<string>;
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number;
export function droppedFiles(transfer: DataTransfer): Promise<Files>;
export function chosenFiles(input: HTMLInputElement): Files;
export function webgpuStatus(): Promise<{ ok: true } | { ok: false; problem: 'NoWebGPU' | 'NoAdapter'; title: string; steps: string[] }>;
export function deviceInfo(options?: { kind?: 'plain' | 'software' }): Promise<Record<string, unknown>>;
/** Ends the worker and frees all that it holds. */
export function terminate(): void;

/** Settings for all that follows. Change them before the first call. */
export const env: {
  /** The worker's script, for pages that serve it elsewhere. */
  workerUrl: string | URL | null;
  /** `wgrad_bg.wasm`, for pages that serve it elsewhere. */
  wasmUrl: string | URL | null;
  /** What relative addresses of models are relative to; the page's address by default. */
  base: string | null;
  /** Where models' names are looked up: `https://huggingface.co/`, or a mirror of it. */
  remoteHost: string;
  /** Where below that a model's files are: `{model}/resolve/{revision}/`. */
  remotePathTemplate: string;
  /** Whether models are kept for the next visit; a text names the cache. */
  cache: boolean | string;
  /** Fetches files of models in place of the browser's `fetch`. */
  fetch: ((url: string, init?: RequestInit) => Promise<Response>) | null;
};
