// A small server of files: for tests, and for `scripts/serve-web` where there is no Python.
//
//   node web/test/serve.js FOLDER [PORT]

import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
};

/**
 * Serves `folders`, a map from path prefixes to folders. `intercept(request, response)` may answer first; with `shared`
 * pages of other origins may read the files.
 */
export function serve(folders, { port = 0, intercept = () => false, shared = false } = {}) {
  const server = createServer((request, response) => {
    if (shared) response.setHeader('access-control-allow-origin', '*');
    if (intercept(request, response)) return;
    try {
      let path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
      if (path.endsWith('/')) path += 'index.html';
      const prefix = Object.keys(folders).filter((start) => path.startsWith(start)).sort((a, b) => b.length - a.length)[0];
      const file = prefix && join(folders[prefix], normalize(`/${path.slice(prefix.length)}`));
      const { size, mtimeMs } = statSync(file);
      const headers = {
        'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
        etag: `"${size.toString(36)}-${Math.floor(mtimeMs).toString(36)}"`,
        // Browsers ask each time whether a file has changed, or they would mix files of two builds.
        'cache-control': 'no-cache',
        'accept-ranges': 'bytes',
      };
      if (request.headers['if-none-match'] === headers.etag) return void response.writeHead(304, headers).end();
      const start = Number(request.headers.range?.match(/^bytes=(\d+)-$/)?.[1] ?? NaN);
      if (start >= size) return void response.writeHead(416, { 'content-range': `bytes */${size}` }).end();
      if (start >= 0) headers['content-range'] = `bytes ${start}-${size - 1}/${size}`;
      response.writeHead(start >= 0 ? 206 : 200, { ...headers, 'content-length': size - (start || 0) });
      if (request.method === 'HEAD') response.end();
      else createReadStream(file, { start: start || 0 }).pipe(response);
    } catch {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('not found');
    }
  });
  return new Promise((done) => server.listen(port, '127.0.0.1', () => done(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder = 'web', port = '8000'] = process.argv.slice(2);
  await serve({ '/': resolve(folder) }, { port: Number(port) });
}
