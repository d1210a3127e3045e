// Every option and event, as code that the compiler must take, and mistakes that it must not.

import { env, pipeline, Trainer, Tensor, type ProgressEvent } from 'wgrad';

export async function options(file: File, list: FileList, folder: FileSystemDirectoryHandle, signal: AbortSignal) {
  const embed = await pipeline('feature-extraction', 'sentence-transformers/all-MiniLM-L6-v2', {
    device: 'webgpu', dtype: 'auto', kind: 'software', verify: true, revision: 'main', token: 'hf_', signal,
    hashes: { 'config.json': '00' }, progress_callback: ({ status, loaded = 0, total = 1 }: ProgressEvent) => console.log(status, loaded / total),
  });
  const vectors = await embed(['a'], { pooling: 'cls', normalize: true, signal, progress_callback: ({ done, total }) => console.log(done / total) });
  const first: number = vectors.tolist()[0]![0]!;
  const ids: number[][] = await embed.tokenize('a', { signal });
  for (const model of [file, list, folder, new URL('https://example.org/'), { 'config.json': file }]) await pipeline('attention', model);
  const tag = await pipeline('token-classification', './entities/');
  for (const { entity_group, word, start, end } of await tag('Ada Lovelace')) console.log(entity_group, word.length === end - start);
  const classify = await pipeline('text-classification', './sentiment/', { dtype: 'fp16' });
  const label: string = (await classify('a', { signal }))[0]!.label + (await classify(['a', 'b']))[1]!.label + classify.labels[0];
  const pair = await classify([{ text: 'a', text_pair: 'b' }, 'c']);
  const same = await pipeline('token-classification', embed);
  console.log(pair.truncated, (await same('a')).length);
  const scores: number[] = (await classify(['a'], { top_k: null }))[0]!.map(({ score }) => score);
  const map = await (await pipeline('attention', './model/'))('a', { pair: 'b', signal });
  const share: number = map.head(0, 0).tolist()[0]![0]! + map.tolist()[0]![0]![0]![0]!;
  const guesses = await (await pipeline('fill-mask', './model.zip'))(['a [MASK]'], { top_k: 3, signal });
  [env.workerUrl, env.wasmUrl, env.base, env.remoteHost, env.cache, env.fetch] = ['/w.js', new URL('https://example.org/x.wasm'), '/', 'https://mirror/', false, fetch];
  return [first, ids, label, scores, share, guesses, new Tensor(new Float32Array(4), [2, 2]).tolist()];
}

export async function training(signal: AbortSignal) {
  const trainer = await Trainer.create('text', {
    preset: 'micro', steps: 10, batch: 8, seqLen: 32, vocabulary: 512, join: true, pack: false, heldOut: 0.1, documents: 'paragraph', seed: 1,
    set: ['learning_rate=1e-3'], aboutData: 'a text', kind: 'plain', keep: 'mine', signal, progress_callback: ({ status }) => console.log(status),
  });
  trainer.addEventListener('step', ({ detail: { row } }) => console.log(row.step, row.loss?.toFixed(2)));
  trainer.addEventListener('ready', ({ detail }) => console.log(detail.total_steps, detail.unigram_entropy));
  trainer.addEventListener('checkpoint', ({ detail }) => console.log(detail.path));
  trainer.addEventListener('device-lost', ({ detail }) => console.log(detail.text), { once: true });
  trainer.addEventListener('not-kept', ({ detail }) => console.log(detail.text === trainer.notKept));
  trainer.addEventListener('kept', ({ detail }) => console.log(detail.step));
  const { loss } = await trainer.train({ signal });
  const text: string = (await trainer.fillMask('a [MASK]', { top_k: 1 })).masks[0]!.candidates[0]!.text;
  const again = await Trainer.resume(await trainer.files(), { text, allowChanges: true });
  const kept: string[] = (await Trainer.kept()).filter(({ step, totalSteps, inUse }) => step < totalSteps && !inUse).map(({ name }) => name);
  const third = await Trainer.restore(kept[0]!, { signal });
  await third.train({ steps: third.done + 10 });
  await Trainer.forget(kept[0]!);
  return [loss, await again.zip('name'), trainer.rows.length];
}

export async function mistakes() {
  // @ts-expect-error: no such task.
  await pipeline('translation', 'a/b');
  // @ts-expect-error: no such type of numbers.
  await pipeline('attention', 'a/b', { dtype: 'int8' });
  // @ts-expect-error: a number is no text.
  await Trainer.create(5);
}
