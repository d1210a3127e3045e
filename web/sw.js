// Keeps the page itself for visits without a network. Models are kept by the library.

const CACHE = 'wgrad-page';
/** All that the page is made of: one visit is enough. */
const FILES = [
  './', 'index.js', 'worker.js', 'wasm/wgrad.js', 'wasm/wgrad_bg.wasm',
  ...['client', 'download', 'errors', 'folder', 'model-files', 'support', 'tensor', 'zip'].map((name) => `lib/${name}.js`),
  ...['colours', 'curve', 'dom', 'links', 'look', 'main', 'matrix', 'models', 'search', 'train'].map((name) => `page/${name}.js`),
  'page/style.css',
];

self.addEventListener('install', (event) => {
  self.skipWaiting();
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) => cache.addAll(FILES))
      // With no room for files, the page is as good as before.
      .catch(() => {}),
  );
});
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

async function answer(event) {
  const { request } = event;
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    // A page that is gone, or an error, must not take the place of what works.
    if (response.ok) event.waitUntil(cache.put(request, response.clone()).catch(() => {}));
    return response;
  } catch (error) {
    const kept = await cache.match(request.mode === 'navigate' ? './' : request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
}

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  const scope = new URL(self.registration.scope);
  const ours = url.origin === scope.origin && url.pathname.startsWith(scope.pathname);
  if (event.request.method !== 'GET' || !ours || /\.(safetensors|json)$/.test(url.pathname)) return;
  event.respondWith(answer(event));
});
