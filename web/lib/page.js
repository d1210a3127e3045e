// What the page's side shares: one worker for all that is loaded.

import { Client } from './client.js';

/** One worker for the page: a device can be had more than once, its memory cannot. */
export const client = new Client();

/** The signal that aborts when one of these does. */
export const either = (...signals) => {
  const given = signals.filter(Boolean);
  return given.length < 2 ? given[0] : AbortSignal.any(given);
};
