/** Files of a folder: paths with their contents. `droppedFiles` and `chosenFiles` make them. */
export type Files = Array<[path: string, content: File | Blob | Uint8Array]>;

/** What happens while a model is loaded. `status` is as in transformers.js, with `verify` and `warning` beside it. */
export interface ProgressEvent {
  status: 'initiate' | 'download' | 'progress' | 'done' | 'verify' | 'ready' | 'warning';
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
  message?: string;
}

export interface PipelineOptions {
  device?: 'webgpu';
  /** fp16 keeps the weights and activations of embeddings as f16 where the adapter has it; elsewhere f32, and said. */
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
  /** Frees the model. */
  dispose(): Promise<void>;
}

/** Numbers with a shape, row-major. */
export class Tensor {
  constructor(data: Float32Array, dims: number[]);
  data: Float32Array;
  dims: number[];
  tolist(): unknown[];
}

export interface FeatureExtraction extends Pipeline {
  /** One vector per text, `[texts, width]`. `truncated` counts the texts that were longer than the model sees. */
  (
    texts: string | string[],
    options?: {
      /** What the model's folder says by default. */
      pooling?: 'mean' | 'cls';
      normalize?: boolean;
      progress_callback?: (event: { done: number; total: number }) => void;
    },
  ): Promise<Tensor & { truncated: number }>;
  tokenize(texts: string | string[]): Promise<number[][]>;
}

export interface MaskGuess {
  /** A probability. */
  score: number;
  token: number;
  token_str: string;
  sequence: string;
}

export interface FillMask extends Pipeline {
  /** Guesses for a text with one `[MASK]`; for a text with several, or for several texts, a list of such lists. */
  (text: string, options?: { top_k?: number }): Promise<MaskGuess[] | MaskGuess[][]>;
  (texts: string[], options?: { top_k?: number }): Promise<Array<MaskGuess[] | MaskGuess[][]>>;
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
export interface AttentionMap extends Tensor {
  layers: number;
  heads: number;
  tokens: AttendedToken[];
  /** How many tokens were cut off, because the text was longer than the model sees. */
  truncated: number;
  /** One head, `[tokens, tokens]`; both counted from 0. A row sums to 1. */
  head(layer: number, head: number): Tensor;
}

export interface Attention extends Pipeline {
  /** Where the model looks in a text, or in a pair of texts. */
  (text: string, options?: { pair?: string }): Promise<AttentionMap>;
}

/** Loads a model from the URL of its folder, or from its files. */
export function pipeline(task: 'feature-extraction', model: string | Files, options?: PipelineOptions): Promise<FeatureExtraction>;
export function pipeline(task: 'attention', model: string | Files, options?: PipelineOptions): Promise<Attention>;
export function pipeline(task: 'fill-mask', model: string | Files, options?: PipelineOptions): Promise<FillMask>;

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

export interface TrainerOptions {
  /** A recipe by name, `micro` by default. */
  preset?: 'micro' | 'tiny' | 'small' | 'notebook';
  steps?: number;
  /** Keys of the recipe, `['learning_rate=1e-3']`. */
  set?: string[];
  vocabulary?: number;
  seqLen?: number;
  /** Let documents share sequences. */
  join?: boolean;
  /** A share of the documents below 1, or a number of sequences, to measure on. */
  heldOut?: number;
  /** What one document of the text is. */
  documents?: 'line' | 'paragraph';
  aboutData?: string;
  kind?: 'plain' | 'software';
  allowChanges?: boolean;
  progress_callback?: (event: { status: string }) => void;
}

/** Pretrains a small BERT. Events: `ready`, `step`, `checkpoint`, `warning`, `device-lost`, each with a `detail`. */
export class Trainer extends EventTarget {
  static create(text: string | Files, options?: TrainerOptions): Promise<Trainer>;
  /** Goes on with the run in a folder, on its `data/` or on `text`. */
  static resume(files: Files, options?: TrainerOptions & { text?: string }): Promise<Trainer>;
  readonly training: boolean;
  /** Trains to the last step or until `pause()`; called again, it goes on. */
  train(): Promise<Summary>;
  pause(): Promise<void>;
  /** Guesses with the newest checkpoint. */
  fillMask(text: string, options?: { top_k?: number }): Promise<{ text: string; masks: Array<{ candidates: Array<{ id: number; token: string; text: string; probability: number }> }> }>;
  files(): Promise<Array<[string, Uint8Array]>>;
  zip(name?: string): Promise<Blob>;
  dispose(): Promise<void>;
}

export function generateText(options?: { words?: number; documents?: number; seed?: number }): Promise<string>;
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number;
export function droppedFiles(transfer: DataTransfer): Promise<Files>;
export function chosenFiles(input: HTMLInputElement): Files;
export function webgpuStatus(): Promise<{ ok: true } | { ok: false; problem: 'NoWebGPU' | 'NoAdapter'; title: string; steps: string[] }>;
export function deviceInfo(options?: { kind?: 'plain' | 'software' }): Promise<Record<string, unknown>>;
/** Ends the worker and frees all that it holds. */
export function terminate(): void;
export const env: { workerUrl: string | URL };
