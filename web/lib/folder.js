// Folders from outside: dropped, chosen, or zipped; and back out.

import { named } from './errors.js';
import { unzip } from './zip.js';

/** What browsers say of a file that is gone or locked names no file and no way out. */
function unreadable(path, error) {
  if (!(error instanceof DOMException)) return error;
  return named('FileError', `${path}: expected a file that can be read, found one that cannot (${error.name}): was it moved, changed or locked after it was chosen?`);
}

async function* walk(entry, path = '') {
  const here = path + entry.name;
  if (entry.isFile) {
    yield [here, await new Promise((resolve, reject) => entry.file(resolve, (error) => reject(unreadable(here, error))))];
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, (error) => reject(unreadable(here, error))));
    if (batch.length === 0) return;
    for (const child of batch) yield* walk(child, `${here}/`);
  }
}

/** What was dropped, as `[path, File]` pairs. Call it in the event's handler: the list is gone after it. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return [...transfer.files].map((file) => [file.name, file]);
  const files = [];
  for (const entry of entries) for await (const pair of walk(entry)) files.push(pair);
  return files;
}

/** What was chosen with an input element. */
export const chosenFiles = (input) => [...input.files].map((file) => [file.webkitRelativePath || file.name, file]);

/** Whether a path is of what systems leave in folders for themselves: a name in it begins with a dot, or is macOS's own. */
export const isHidden = (path) => path.split('/').some((part) => part.startsWith('.') || part === '__MACOSX');

/** Opens zip archives among the files, and reads everything. Names that begin with a dot are left out. */
export async function readFiles(files) {
  const read = [];
  for (const [path, file] of files) {
    try {
      if (file instanceof Uint8Array) read.push([path, file]);
      else if (path.toLowerCase().endsWith('.zip')) read.push(...(await unzip(file)));
      else read.push([path, new Uint8Array(await file.arrayBuffer())]);
    } catch (error) {
      throw unreadable(path, error);
    }
  }
  return read.filter(([path]) => !isHidden(path));
}

/** The folder of the first file called `name`, nearest to the top: `''`, `'a/'`, … or `null`. */
export function folderOf(files, name) {
  const found = files.map(([path]) => path).filter((path) => path === name || path.endsWith(`/${name}`));
  found.sort((a, b) => a.split('/').length - b.split('/').length);
  return found.length ? found[0].slice(0, found[0].length - name.length) : null;
}

/** The files below a folder, with their paths in it. */
export const below = (files, folder) =>
  files.filter(([path]) => path.startsWith(folder)).map(([path, bytes]) => [path.slice(folder.length), bytes]);
