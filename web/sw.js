// Keeps the page itself for visits without a network, as whole versions: what files.json names, each file by its
// SHA-256. A new version is taken when all of it has arrived, and an open page keeps the one that it began with. Models
// are kept by the library.

const STATE = 'wgrad-page-state';
const VERSION = 'wgrad-page-';
const MANIFEST = 'files.json';
/** How long a visit waits for a newer version, in milliseconds; after that the next one gets it. */
const PATIENCE = 6000;

const at = (path) => new URL(path, self.registration.scope).href;
const ofPage = ([path]) => !path.startsWith('model/');

/** `{ version, clients }`: the newest whole version, and which one each open page began with. */
let state = null;
async function remembered() {
  if (state) return state;
  const kept = await (await caches.open(STATE)).match(at('state'));
  return (state ??= kept ? await kept.json() : { version: null, clients: {} });
}
async function remember() {
  const open = new Set((await self.clients.matchAll({ includeUncontrolled: true, type: 'all' })).map(({ id }) => id));
  // A page that is only being opened is not among them yet.
  const recent = Object.entries(state.clients).slice(-20);
  state.clients = Object.fromEntries([...Object.entries(state.clients).filter(([id]) => open.has(id)), ...recent]);
  await (await caches.open(STATE)).put(at('state'), new Response(JSON.stringify(state)));
}

/** SHA-256 in hexadecimal as the browser wants it of a file that it checks. */
const integrity = (hash) => `sha256-${btoa(String.fromCharCode(...hash.match(/../g).map((byte) => parseInt(byte, 16))))}`;

/** The manifest that the server has now. */
async function offered() {
  const response = await fetch(at(MANIFEST), { cache: 'no-cache' });
  if (!response.ok) throw new Error(`${MANIFEST}: ${response.status}`);
  return response.json();
}

/** Fetches what the newest version here does not have, and takes the new one when all of it is right. */
async function install(manifest) {
  const { version: before } = await remembered();
  const old = before && (await caches.open(VERSION + before));
  const known = old ? (await (await old.match(at(MANIFEST)))?.json())?.files : {};
  const cache = await caches.open(VERSION + manifest.version);
  await Promise.all(
    Object.entries(manifest.files).filter(ofPage).map(async ([path, hash]) => {
      if (await cache.match(at(path))) return;
      const same = known?.[path] === hash && (await old.match(at(path)));
      // A file of another version has another sum: then nothing is taken, and the old version stays whole.
      const response = same || (await fetch(at(path), { cache: 'no-cache', integrity: integrity(hash) }));
      if (!response.ok) throw new Error(`${path}: ${response.status}`);
      await cache.put(at(path), response);
    }),
  );
  await cache.put(at(MANIFEST), new Response(JSON.stringify(manifest), { headers: { 'content-type': 'application/json' } }));
  state.version = manifest.version;
  await remember();
  const used = new Set([state.version, ...Object.values(state.clients)].map((version) => VERSION + version));
  for (const name of await caches.keys()) {
    if ((name.startsWith(VERSION) || name === 'wgrad-page') && name !== STATE && !used.has(name)) await caches.delete(name);
  }
}

let updating = null;
/** Looks for a newer version; one look at a time. */
function update() {
  updating ??= (async () => {
    const manifest = await offered();
    if (manifest.version !== (await remembered()).version) await install(manifest);
  })().finally(() => (updating = null));
  return updating;
}

self.addEventListener('install', (event) => {
  self.skipWaiting();
  // With no room for files, or no manifest of them, the page is as good as before.
  event.waitUntil(update().catch(() => {}));
});
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

async function opened(event) {
  const looking = update().catch(() => {});
  event.waitUntil(looking);
  await Promise.race([looking, new Promise((done) => setTimeout(done, PATIENCE))]);
  const { version, clients } = await remembered();
  if (!version) return fetch(event.request);
  clients[event.resultingClientId] = version;
  event.waitUntil(remember());
  const page = await (await caches.open(VERSION + version)).match(at('index.html'));
  return page ?? fetch(event.request);
}

async function answer(event, path) {
  const { version, clients } = await remembered();
  const mine = clients[event.clientId] ?? version;
  // A worker begins with the version of its page.
  if (event.resultingClientId && mine) clients[event.resultingClientId] = mine;
  const kept = mine && (await (await caches.open(VERSION + mine)).match(at(path)));
  return kept ?? fetch(event.request);
}

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const scope = new URL(self.registration.scope);
  if (request.method !== 'GET' || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) return;
  const path = url.pathname.slice(scope.pathname.length);
  const isPage = path === '' || path === 'index.html';
  if (request.mode === 'navigate') {
    if (isPage) event.respondWith(opened(event));
  } else if (path === MANIFEST || /^(index\.js|worker\.js|(lib|page|wasm)\/.*)$/.test(path)) {
    event.respondWith(answer(event, path));
  }
});
