// Zip archives: stored, not compressed (weights do not compress), read and written without a library.

import { named } from './errors.js';

const TABLE = new Uint32Array(256).map((_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** A record of numbers: `[bytes, value]` pairs, little-endian. */
function record(...fields) {
  const bytes = new DataView(new ArrayBuffer(fields.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) bytes.setUint16(at, value, true);
    else bytes.setUint32(at, value, true);
    at += size;
  }
  return new Uint8Array(bytes.buffer);
}

/** An archive of `[path, bytes]` pairs as a Blob. At most 4 GB. */
export const zip = (files) => new Blob(zipParts(files), { type: 'application/zip' });

/** The pieces that an archive of `[path, bytes]` pairs is made of, in order. */
export function zipParts(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [path, bytes] of files) {
    const name = new TextEncoder().encode(path);
    // Version 2.0, names in UTF-8, stored, 1 January 1980: the same files make the same archive.
    const common = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 33], [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, name.length], [2, 0]];
    const header = record([4, 0x04034b50], ...common);
    directory.push(record([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), name);
    parts.push(header, name, bytes);
    offset += header.length + name.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, directory.length / 2], [2, directory.length / 2], [4, size], [4, offset], [2, 0]);
  return [...parts, ...directory, end];
}

/** The `[path, bytes]` pairs of an archive. */
export async function unzip(blob) {
  const where = blob.name ?? 'the archive';
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const view = new DataView(bytes.buffer);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw named('FileError', `${where}: expected a zip archive, found something else, or the beginning of one`);
  try {
    return await entries(bytes, view, end);
  } catch (error) {
    // What points outside of the archive.
    if (!(error instanceof RangeError)) throw error;
    throw named('FileError', `${where}: expected a zip archive, found one that is damaged`);
  }
}

async function entries(bytes, view, end) {
  const files = [];
  let at = view.getUint32(end + 16, true);
  for (let n = view.getUint16(end + 10, true); n > 0; n--) {
    const [method, sum, packed] = [view.getUint16(at + 10, true), view.getUint32(at + 16, true), view.getUint32(at + 20, true)];
    const [name, extra, comment] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
    const start = view.getUint32(at + 42, true);
    const path = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + name));
    const data = start + 30 + view.getUint16(start + 26, true) + view.getUint16(start + 28, true);
    let content = bytes.subarray(data, data + packed);
    if (method === 8) {
      const stream = new Blob([content]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
      content = await new Response(stream).arrayBuffer().then((unpacked) => new Uint8Array(unpacked), () => null);
    } else if (method !== 0) {
      throw named('FileError', `${path}: expected a stored or deflated file, found compression method ${method}`);
    }
    if (!content || crc32(content) !== sum) throw named('FileError', `${path}: expected what was packed, found other bytes: the archive is damaged`);
    if (!path.endsWith('/')) files.push([path, content]);
    at += 46 + name + extra + comment;
  }
  return files;
}
