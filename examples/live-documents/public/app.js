// Builds the page: two clients, the trace of each change, and the experiments.

import * as api from './api.js';
import * as experiments from './experiments.js';
import * as ledger from './ledger.js';
import * as steps from './steps.js';
import * as terminal from './terminal.js';
import * as way from './way.js';
import { Pane } from './pane.js';

const POLL_MS = 2000;
/** A card that reaches both panes within this time is shown with the later time of the two. */
const BOTH_MS = 250;

const status = document.getElementById('status');
const arrivals = new Map();
let process = null;
/** Since when a client has been disconnected, and from which process. */
let away = null;
let reloading = false;

const panes = [...document.querySelectorAll('.pane')].map(
  (root) => new Pane(root, { write, remove, received, state: stateChanged }),
);

function say(text, mood = '') {
  status.dataset.mood = mood;
  status.textContent = text;
}

/** Writes a card; returns whether the change was accepted. */
async function write(card) {
  return change(() => api.putCard(card));
}

async function remove(card) {
  return change(() => api.deleteCard(card));
}

async function change(act) {
  try {
    const { card } = await act();
    ledger.accepted(card);
    steps.done(1);
    return true;
  } catch (error) {
    say(`Not accepted: ${reason(error)}. Nothing was changed.`, 'bad');
    return false;
  }
}

/** A change arrived in one of the panes. Its trace is drawn once the other pane has it too. */
function received(pane, card, traceparent, at) {
  experiments.received(card);
  if (!traceparent) return;
  const key = `${card.id} ${card.rev}`;
  const first = arrivals.get(key);
  if (first) {
    arrivals.delete(key);
    clearTimeout(first.timer);
    way.show(traceparent, Math.max(first.at, at), card);
    return;
  }
  const timer = setTimeout(() => {
    arrivals.delete(key);
    way.show(traceparent, at, card);
  }, BOTH_MS);
  arrivals.set(key, { at, timer });
}

function stateChanged(pane, state) {
  if (state === 'away') {
    away ??= { since: Date.now(), pid: process?.pid };
    say('The process is away. Trying again, without giving up…', 'bad');
    return;
  }
  if (panes.every((each) => each.state === 'connected')) reload();
}

/** Both clients are connected: read the board, and verify that it contains every accepted change. */
async function reload() {
  if (reloading) return;
  reloading = true;
  try {
    await look();
    const cards = await untilAnswered(api.listCards);
    const known = panes[0];
    const missed = cards.reduce((sum, card) => sum + Math.max(0, card.rev - (known.card(card.id)?.rev ?? 0)), 0);
    for (const pane of panes) cards.forEach((card) => pane.take(card));
    const { lost, accepted } = ledger.check(cards);
    greet({ missed, lost, accepted });
    terminal.show(process, cards.find((card) => !card.deleted));
  } finally {
    reloading = false;
    away = null;
  }
}

function greet({ missed, lost, accepted }) {
  if (lost.length) {
    say(`${ledger.count(lost.length, 'card')} lost an accepted change.`, 'bad');
    return;
  }
  if (!away?.pid) {
    say('Both clients are connected.', 'good');
    return;
  }
  const seconds = ((Date.now() - away.since) / 1000).toFixed(1);
  const who = away.pid === process?.pid ? 'The connection is back' : `Process ${process?.pid} took over from ${away.pid}`;
  const news = missed ? `${ledger.count(missed, 'change')} had been accepted that this page had not seen; ` : '';
  const all = accepted ? `all ${ledger.count(accepted, 'accepted change')} of this browser are here` : 'the board is as it was left';
  say(`${who} after ${seconds} s: ${news}${all}.`, 'good');
}

/** The status of the process, and the new lines of its function log. */
async function look() {
  try {
    const last = process;
    process = await api.info();
    if (last && last.pid !== process.pid) experiments.forgetLog();
    document.getElementById('connections').textContent = process.connections;
    document.getElementById('pid').textContent = process.pid;
    document.getElementById('kill-command').textContent = `kill -9 ${process.pid}`;
    if (process.command) document.getElementById('start-command').textContent = process.command;
    ledger.open(process.dataDir);
    await experiments.readLog();
  } catch { /* away: the panes say so */ }
}

async function untilAnswered(ask) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      if (attempt > 3) say(`The board is not there yet: ${reason(error)}. Asking again…`, 'bad');
      await api.pause(Math.min(100 * 2 ** attempt, 1000));
    }
  }
}

function reason(error) {
  return error instanceof TypeError ? 'the process did not answer' : error.message;
}

async function copy(event) {
  const button = event.currentTarget;
  await navigator.clipboard?.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 1200);
}

document.querySelectorAll('.copy').forEach((button) => button.addEventListener('click', copy));
experiments.begin({ accepted: ledger.accepted, look });
setInterval(() => {
  if (document.visibilityState === 'visible') look();
}, POLL_MS);
look();
