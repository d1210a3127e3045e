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

/** Serves `folders`, a map from path prefixes to folders. `intercept(request, response)` may answer first. */
export function serve(folders, { port = 0, intercept = () => false } = {}) {
  const server = createServer((request, response) => {
    if (intercept(request, response)) return;
    let path = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    if (path.endsWith('/')) path += 'index.html';
    const prefix = Object.keys(folders).filter((start) => path.startsWith(start)).sort((a, b) => b.length - a.length)[0];
    const file = prefix && join(folders[prefix], normalize(`/${path.slice(prefix.length)}`));
    try {
      const { size } = statSync(file);
      response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'content-length': size });
      createReadStream(file).pipe(response);
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
