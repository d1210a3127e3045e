// The package as strangers get it, `npm pack`'s tarball: in bundlers, on a plain page, from another origin, in Node.js,
// and its types.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { ROOT, browser, end, place } from './setup.js';
import { serve } from './serve.js';

const tools = join(ROOT, 'target/tools');
const load = (name) => import(pathToFileURL(createRequire(join(tools, 'x.js')).resolve(name)));
const app = join(place, 'app');
const installed = join(app, 'node_modules/wgrad');
const servers = [];
let models;

before(async () => {
  execFileSync(join(ROOT, 'scripts/pack-web'), { stdio: ['ignore', 'ignore', 'inherit'] });
  mkdirSync(installed, { recursive: true });
  const tarball = readdirSync(join(ROOT, 'target/web-package')).find((name) => name.endsWith('.tgz'));
  execFileSync('tar', ['xzf', join(ROOT, 'target/web-package', tarball), '-C', installed, '--strip-components=1']);
  models = await serving({ '/': join(ROOT, 'tests/golden') });
  writeFileSync(join(app, 'package.json'), '{ "private": true, "type": "module" }');
  writeFileSync(join(app, 'app.js'), `
    import { pipeline } from 'wgrad';
    globalThis.answer = (async () => {
      const embed = await pipeline('feature-extraction', '${models}sentence_transformers/');
      const { dims } = await embed(['a text', 'and another']);
      await embed.dispose();
      return dims;
    })();
    globalThis.answer.catch(() => {});
  `);
  writeFileSync(join(app, 'index.html'), page('/app.js'));
});
after(async () => {
  for (const server of servers) server.close(), server.closeAllConnections?.();
  await end();
});

const page = (script, more = '') => `<!doctype html><title>app</title>${more}<script type="module" src="${script}"></script>`;

/** The address at which folders are served, to all origins. */
async function serving(folders) {
  const server = await serve(folders, { shared: true });
  servers.push(server);
  return `http://localhost:${server.address().port}/`;
}

/** Opens an app and holds what it says against what is right. */
async function runs(url) {
  const context = await browser.newContext();
  const tab = await context.newPage();
  const said = [];
  tab.on('pageerror', (error) => said.push(error.message));
  tab.on('console', (message) => message.type() === 'error' && said.push(message.text()));
  await tab.goto(url);
  await tab.waitForFunction(() => globalThis.answer, null, { timeout: 60_000 }).catch(() => {});
  const answer = await tab.evaluate(() => globalThis.answer?.catch((error) => `${error.name}: ${error.message}`));
  assert.deepEqual(answer, [2, 40], said.join('\n'));
  await context.close();
}

test('the tarball has what it needs, and both licences', () => {
  const about = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  for (const name of ['README.md', 'LICENSE-MIT', 'LICENSE-APACHE', 'index.d.ts', 'wasm/wgrad_bg.wasm', 'wasm/wgrad.js', ...Object.values(about.exports).flatMap((one) => Object.values(typeof one === 'string' ? [one] : one))]) {
    assert.ok(existsSync(join(installed, name)), name);
  }
  for (const name of ['page', 'test', 'index.html', 'model', 'sw.js']) assert.ok(!existsSync(join(installed, name)), name);
  assert.equal(about.repository.type, 'git');
  const publishing = spawnSync('sh', ['-c', about.scripts.prepublishOnly], { cwd: installed, encoding: 'utf8' });
  assert.equal(publishing.status === 0, Boolean(about.repository.url), 'without a repository it is not published');
});

for (const name of ['vite', 'vite7']) test(`${name}: its development server, a build, and a build below a path`, async () => {
  const vite = await load(name);
  rmSync(join(app, 'node_modules/.vite'), { recursive: true, force: true });
  const dev = await vite.createServer({ root: app, configFile: false, logLevel: 'error', server: { port: 0, strictPort: false } });
  await dev.listen();
  await runs(dev.resolvedUrls.local[0]);
  await dev.close();
  for (const base of ['/', '/some/path/']) {
    const outDir = join(place, `${name}-${base.length}`);
    await vite.build({ root: app, base, configFile: false, logLevel: 'error', build: { outDir } });
    await runs((await serving({ [base]: outDir })) + base.slice(1));
    // The worker is there once, with all that it imports, and so is the wasm.
    const files = readdirSync(join(outDir, 'assets'));
    assert.equal(files.filter((name) => name.endsWith('.wasm')).length, 1, files.join());
  }
});

test('webpack 5', async () => {
  const { default: webpack } = await load('webpack');
  const out = join(place, 'webpack');
  const stats = await new Promise((done, failed) =>
    webpack({ context: app, entry: './app.js', mode: 'production', output: { path: out, filename: 'main.js' } }, (error, stats) => (error ? failed(error) : done(stats))),
  );
  assert.ok(!stats.hasErrors(), stats.toString());
  writeFileSync(join(out, 'index.html'), page('main.js'));
  await runs(`${await serving({ '/deep/': out })}deep/`);
});

test('esbuild, as the documentation has it', async () => {
  const { build } = await load('esbuild');
  const outdir = join(place, 'esbuild');
  await build({ entryPoints: { app: join(app, 'app.js'), worker: join(installed, 'worker.js') }, bundle: true, format: 'esm', outdir, logLevel: 'error' });
  cpSync(join(installed, 'wasm/wgrad_bg.wasm'), join(outdir, 'wgrad_bg.wasm'));
  writeFileSync(join(outdir, 'index.html'), page('app.js'));
  await runs(await serving({ '/': outdir }));
});

const script = (from, before = '') => `
  import { env, pipeline } from '${from}';
  ${before}
  globalThis.answer = pipeline('feature-extraction', '${models}sentence_transformers/').then(async (embed) => (await embed(['a text', 'and another'])).dims);
`;

test('a plain page, another origin, and files that are elsewhere', async () => {
  const cdn = await serving({ '/wgrad@0.1/': installed, '/moved/': join(installed, 'wasm') });
  const plain = join(place, 'plain');
  mkdirSync(plain);
  writeFileSync(join(plain, 'app.js'), script('./wgrad/index.js'));
  writeFileSync(join(plain, 'cdn.js'), script(`${cdn}wgrad@0.1/index.js`));
  // The worker from another origin, the wasm from a third place.
  writeFileSync(join(plain, 'set.js'), script('./wgrad/index.js', `env.workerUrl = '${cdn}wgrad@0.1/worker.js'; env.wasmUrl = '${cdn}moved/wgrad_bg.wasm';`));
  const policy = (csp) => `<meta http-equiv="Content-Security-Policy" content="${csp}">`;
  // What docs/web.md says that a policy must allow.
  const strict = readFileSync(join(ROOT, 'docs/web.md'), 'utf8').match(/Content-Security-Policy: (.*)/)[1];
  assert.match(strict, /wasm-unsafe-eval/);
  for (const name of ['app', 'cdn', 'set']) writeFileSync(join(plain, `${name}.html`), page(`${name}.js`));
  writeFileSync(join(plain, 'strict.html'), page('app.js', policy(`${strict} ${models}`)));
  const base = await serving({ '/': plain, '/wgrad/': installed });
  for (const name of ['app', 'cdn', 'set', 'strict']) await runs(`${base}${name}.html`);
});

test('Node.js, with the package webgpu and without', () => {
  const driver = ['/usr/lib/chromium', '/usr/lib64/chromium', '/opt/google/chrome'].map((folder) => `${folder}/vk_swiftshader_icd.json`).find(existsSync);
  const env = { ...process.env, ...(driver && process.platform === 'linux' ? { VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver } : {}) };
  cpSync(join(ROOT, 'tests/golden/sentence_transformers'), join(app, 'model'), { recursive: true });
  writeFileSync(join(app, 'node.js'), `
    import { cosine, generateText, pipeline } from 'wgrad';
    try {
      const embed = await pipeline('feature-extraction', './model');
      const vectors = await embed(['a text', 'another', 'a text']);
      const [a, b, c] = vectors.tolist();
      console.log(JSON.stringify({ dims: vectors.dims, same: cosine(a, c), other: cosine(a, b) }));
      await embed.dispose();
    } catch ({ name, message }) {
      console.log(JSON.stringify({ name, message, text: (await generateText({ words: 20, documents: 3 })).length }));
    }
  `);
  const run = () => JSON.parse(execFileSync(process.execPath, ['node.js'], { cwd: app, env, encoding: 'utf8', timeout: 120_000, stdio: ['ignore', 'pipe', 'ignore'] }));
  const without = run();
  assert.equal(without.name, 'NoWebGPU');
  assert.match(without.message, /npm install webgpu/);
  assert.ok(without.text > 50, 'what needs no GPU works');
  symlinkSync(join(tools, 'node_modules/webgpu'), join(app, 'node_modules/webgpu'));
  const found = run();
  assert.deepEqual(found.dims, [3, 40]);
  assert.ok(Math.abs(found.same - 1) < 1e-6 && found.other < 0.9999, JSON.stringify(found));
  const direct = spawnSync(process.execPath, ['-e', "import('wgrad/package.json', { with: { type: 'json' } }).then(() => import('./node_modules/wgrad/index.js')).then((w) => w.deviceInfo()).catch((error) => console.log(error.name))"], { cwd: app, encoding: 'utf8' });
  assert.equal(direct.stdout.trim(), 'NoWorker');
});

test('every example of the documentation passes tsc --strict, and every option has its type', () => {
  const folder = join(app, 'types');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  const examples = [];
  for (const name of ['docs/web.md', 'web/README.md']) {
    const text = readFileSync(join(ROOT, name), 'utf8');
    for (const [, kind, code] of text.matchAll(/```(js|html)\n([\s\S]*?)```/g)) {
      examples.push(kind === 'html' ? code.match(/<script type="module">([\s\S]*?)<\/script>/)[1] : code);
    }
  }
  assert.ok(examples.length >= 6, `${examples.length} examples`);
  const given = `import { chosenFiles, cosine, deviceInfo, droppedFiles, env, generateText, pipeline, terminate, Tensor, Trainer, webgpuStatus } from 'wgrad';`;
  const values = { model: 'string', text: 'string', files: "import('wgrad').Files", input: 'HTMLInputElement', button: 'HTMLButtonElement', embed: "import('wgrad').FeatureExtraction", texts: 'string[]' };
  examples.forEach((code, at) => {
    const own = code.replace(/import \{[^}]*\} from '[^']*';/g, '').replace(/^/gm, '  ');
    const declared = (name) => new RegExp(`(const|let) (\\[[^\\]]*\\b${name}\\b|${name}\\b)`).test(own);
    const free = Object.entries(values).filter(([name]) => !declared(name)).map(([name, type]) => `declare const ${name}: ${type};`);
    writeFileSync(join(folder, `example${at}.ts`), `${given}\n${free.join('\n')}\nvoid [chosenFiles, cosine, deviceInfo, droppedFiles, env, generateText, pipeline, terminate, Tensor, Trainer, webgpuStatus];\nexport async function example() {\n${own}\n}\n`);
  });
  cpSync(join(ROOT, 'web/test/types.ts'), join(folder, 'types.ts'));
  const settings = { compilerOptions: { strict: true, noEmit: true, target: 'ES2023', module: 'NodeNext', moduleResolution: 'NodeNext', lib: ['ES2023', 'DOM', 'DOM.Iterable', 'DOM.AsyncIterable'], types: [], exactOptionalPropertyTypes: true }, include: ['*.ts'] };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(settings));
  const checked = spawnSync(process.execPath, [join(tools, 'node_modules/typescript/bin/tsc'), '-p', folder], { encoding: 'utf8' });
  assert.equal(checked.status, 0, checked.stdout);
});
