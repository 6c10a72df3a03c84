// The buttons that try to lose a change, and the function log that shows what happened.

import * as api from './api.js';
import * as steps from './steps.js';
import { ms } from './way.js';

const LINES_MAX = 200;
const PATIENCE_MS = 20_000;
const STREAM_EVERY_MS = 200;

const finding = document.getElementById('finding');
const log = document.getElementById('log');
const waiting = new Set();
/** The newest version of each card that arrived: a message may arrive before the response to the request that caused it. */
const seen = new Map();
let lastLine = 0;
let reading = null;
let page;

/** @param handles accepted(card) records an accepted change; look() refreshes the status of the process on the page. */
export function begin(handles) {
  page = handles;
  button('throw', makeItThrow);
  button('kill-worker', killWorker);
  const stream = document.getElementById('stream');
  stream.addEventListener('click', () => toggleStream(stream));
}

/** A card has arrived over a connection. */
export function received(card) {
  seen.set(card.id, card);
  for (const each of waiting) if (each.matches(card)) each.resolve(card);
}

/** Reads the new lines of the function log. Only one read at a time, so that no line appears twice. */
export function readLog() {
  reading ??= readOnce().finally(() => { reading = null; });
  return reading;
}

async function readOnce() {
  const { lines } = await api.logs(lastLine);
  // A new process numbers its lines from the beginning.
  if (!lines.length) return [];
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
  for (const line of lines) {
    lastLine = Math.max(lastLine, line.n);
    const item = document.createElement('li');
    item.dataset.level = line.level.toLowerCase();
    item.dataset.number = line.n;
    const who = document.createElement('b');
    who.textContent = line.function ? `${line.function}  ` : '';
    item.append(who, line.text);
    log.append(item);
  }
  while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
  return lines;
}

/** Another process numbers its lines anew. */
export function forgetLog() {
  lastLine = 0;
}

async function makeItThrow() {
  tell('Writing a card that says “throw”…');
  await readLog();
  const before = lastLine;
  await put(mischief('throw'));
  const thrown = await until(async () => {
    await readLog();
    return thrownSince(before);
  });
  const said = thrown ? `The function threw “${thrown}”.` : 'The function threw; its log line has not come yet.';
  const { took } = await roundTrip('The function failed before this, and the feed went on');
  tell(`${said} Its stack is in the log below. The feed went on: the next change arrived ${ms(took)} after it was sent.`);
}

/** The errors that the function threw, from the log lines after a number. */
function thrownSince(number) {
  const lines = [...log.querySelectorAll('[data-level="error"]')].filter((item) => Number(item.dataset.number) > number);
  return lines.map((item) => /\b\w*Error: [^\n]*/.exec(item.textContent)?.[0]).find(Boolean);
}

async function killWorker() {
  tell('Writing a card and killing the worker under it…');
  const first = await put(mischief('Written just before its worker was killed'));
  const arrived = arrival((card) => card.id === first.id && card.rev >= first.rev);
  const { killed } = await api.killWorkers();
  const { took } = await roundTrip('Written while the worker was gone');
  await arrived;
  const who = killed.length ? `Worker ${killed.join(', ')} was killed in the middle of its work.` : 'There was no worker to kill.';
  tell(`${who} A new one took over; both changes arrived, the second ${ms(took)} after it was sent.`);
}

/** Writes the card of these experiments until it is accepted, and waits until it arrives. */
async function roundTrip(text) {
  const began = api.now();
  const accepted = await until(() => put(mischief(text)).catch(() => null));
  if (!accepted) throw new Error('the change was not accepted within 20 seconds');
  await arrival((card) => card.id === accepted.id && card.rev >= accepted.rev);
  return { took: api.now() - began };
}

async function put(card) {
  const { card: accepted } = await api.putCard(card);
  page.accepted(accepted);
  return accepted;
}

function mischief(text) {
  return { id: 'mischief', text, column: 'doing', colour: 'rose' };
}

/** Writes one card repeatedly, so that you can kill the process meanwhile. */
function toggleStream(control) {
  const on = control.getAttribute('aria-pressed') !== 'true';
  control.setAttribute('aria-pressed', String(on));
  control.textContent = on ? 'Stop writing' : 'Keep writing';
  if (on) stream(control);
}

async function stream(control) {
  let accepted = 0;
  let refused = 0;
  while (control.getAttribute('aria-pressed') === 'true') {
    try {
      await put({ id: 'stream', text: `Edit number ${accepted + 1}`, column: 'doing', colour: 'sky' });
      accepted += 1;
    } catch {
      refused += 1;
    }
    const away = refused ? `, ${refused} refused while the process was away` : '';
    tell(`${accepted} changes accepted in a row${away}. Now kill the process; each accepted one must be there afterwards.`);
    await api.pause(STREAM_EVERY_MS);
  }
}

function arrival(matches) {
  const early = [...seen.values()].find(matches);
  if (early) return Promise.resolve(early);
  return new Promise((resolve, reject) => {
    const each = { matches, resolve: (card) => { settle(); resolve(card); } };
    const timer = setTimeout(() => { settle(); reject(new Error('the change did not arrive within 20 seconds')); }, PATIENCE_MS);
    const settle = () => { clearTimeout(timer); waiting.delete(each); };
    waiting.add(each);
  });
}

async function until(attempt) {
  const end = Date.now() + PATIENCE_MS;
  while (Date.now() < end) {
    const result = await attempt();
    if (result) return result;
    await api.pause(100);
  }
  return null;
}

function button(id, act) {
  const control = document.getElementById(id);
  control.addEventListener('click', async () => {
    if (control.getAttribute('aria-disabled') === 'true') return;
    control.setAttribute('aria-disabled', 'true');
    try {
      await act();
      steps.done(3);
    } catch (error) {
      tell(`That did not work out: ${error.message}.`);
    } finally {
      control.setAttribute('aria-disabled', 'false');
      page.look();
    }
  });
}

function tell(text) {
  finding.textContent = text;
}
