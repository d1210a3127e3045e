// The page: its rooms, and what to do where there is no WebGPU.

import { deviceInfo, webgpuStatus } from '../index.js';
import { $, ignoreOtherDrops, make } from './dom.js';
import * as look from './look.js';
import * as search from './search.js';
import * as train from './train.js';

const rooms = { search, look, train };

/** Whether the rooms may begin to work. */
let usable = false;
let here = null;

/** The room that the address names, or the first. */
const addressed = () => (Object.hasOwn(rooms, location.hash.slice(1)) ? location.hash.slice(1) : Object.keys(rooms)[0]);

function show(name) {
  if (name === here) return;
  here = name;
  for (const room of Object.keys(rooms)) {
    $(`room-${room}`).hidden = room !== name;
    $(`tab-${room}`).setAttribute('aria-selected', String(room === name));
    $(`tab-${room}`).tabIndex = room === name ? 0 : -1;
    if (room !== name) rooms[room].close();
  }
  scrollTo(0, 0);
  if (usable) rooms[name].open();
}

/** Goes to a room as to a page of its own: Back leads to the one before. */
function enter(name) {
  if (name !== addressed()) history.pushState(null, '', `#${name}`);
  show(name);
}

/** Says what is wrong and what to do, above the rooms, which stay usable where they can. */
export function trouble(title, steps, { retry } = {}) {
  const box = $('trouble');
  const again = make('button', {}, 'Try again');
  again.addEventListener('click', () => {
    box.hidden = true;
    (retry ?? (() => location.reload()))();
  });
  box.replaceChildren(make('h2', {}, title), make('ol', {}, ...steps.map((step) => make('li', {}, step))), make('div', { class: 'row' }, again));
  box.hidden = false;
}

async function begin() {
  const status = await webgpuStatus();
  document.body.dataset.webgpu = status.ok ? 'ok' : status.problem;
  if (!status.ok) {
    trouble(status.title, status.steps);
    for (const room of Object.values(rooms)) room.disable();
    return;
  }
  try {
    const about = await deviceInfo();
    const onCpu = about.kind === 'software' || about.device_type === 'cpu';
    $('device').textContent = about.name || (onCpu ? 'software adapter' : 'WebGPU');
    // What is no graphics card must not be called one.
    if (onCpu) $('computes').textContent = 'BERT in this tab. No graphics card was found: your processor computes, slowly.';
    $('device').title = JSON.stringify(about);
    $('device').hidden = false;
    document.body.dataset.device = onCpu ? 'software' : 'plain';
    usable = true;
    rooms[here].open();
  } catch (error) {
    document.body.dataset.webgpu = error.name;
    trouble(error.message, ['Reload the page.', 'If it happens again, restart the browser: the graphics driver may be stuck.']);
  }
}

for (const [name, room] of Object.entries(rooms)) {
  $(`tab-${name}`).addEventListener('click', () => enter(name));
  room.start();
}
// Arrow keys move between the rooms, as in every list of tabs.
document.querySelector('nav').addEventListener('keydown', ({ key }) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
  const names = Object.keys(rooms);
  if (!step) return;
  const name = names[(names.indexOf(here) + step + names.length) % names.length];
  enter(name);
  $(`tab-${name}`).focus();
});
// Every room begins at its top; where an older one had been scrolled to would be somewhere in the middle.
history.scrollRestoration = 'manual';
addEventListener('popstate', () => show(addressed()));
show(addressed());
ignoreOtherDrops();
begin();
if ('serviceWorker' in navigator) navigator.serviceWorker.register('./sw.js').catch(() => {});
