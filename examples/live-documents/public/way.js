// The trace of a change through the process: write, feed, function, send, screen. Spans overlap (a feed is read while the write ends). Each
// hop is shown from the end of the previous one, so that the hops follow each other and add up to the total.

import * as api from './api.js';
import * as steps from './steps.js';

const HOPS = [
  ['write', (span) => span.name === 'documents.write'],
  ['feed', (span) => span.name === 'feed'],
  ['function', (span) => span.name === 'function' && span.attributes.function === 'changed'],
  ['send', (span) => span.name === 'send'],
];
const TIMES_MAX = 40;
/** The last spans end after the message was sent, so the query is repeated until they exist. */
const LOOKS_MS = [40, 120, 300, 800];

const times = [];
let newest = 0;

/** Shows the hops of a change whose trace is known, and that all panes have received by `seenAt` (wall clock, milliseconds). */
export async function show(traceparent, seenAt, card) {
  const id = traceparent.split('-')[1];
  const turn = (newest += 1);
  for (const wait of LOOKS_MS) {
    await api.pause(wait);
    // A newer change is on its way to the screen: that one is shown.
    if (turn !== newest) return;
    const { spans } = await api.trace(id).catch(() => ({ spans: [] }));
    const hops = hopsOf(spans, seenAt);
    if (hops.length <= HOPS.length) continue;
    draw(hops, card, spans);
    return;
  }
}

function hopsOf(spans, seenAt) {
  const found = HOPS.map(([name, matches]) => ({ name, span: spans.findLast(matches) })).filter(({ span }) => span);
  const ends = found.map(({ name, span }) => ({
    name, from: milliseconds(span.startUnixNs), to: milliseconds(span.endUnixNs), failed: Boolean(span.error),
  }));
  if (!ends.some(({ name }) => name === 'send')) return [];
  ends.push({ name: 'screen', from: seenAt, to: seenAt, failed: false });
  let at = ends[0].from;
  return ends.map(({ name, to, failed }, index) => {
    // A function ends after its message was sent: its own share ends where the send begins.
    const end = name === 'function' ? Math.min(to, ends[index + 1].from) : to;
    const from = at;
    at = Math.max(from, Math.min(end, Math.max(seenAt, from)));
    return { name, from, to: at, failed };
  });
}

function draw(hops, card, spans) {
  const began = hops[0].from;
  const ended = hops.at(-1).to;
  const length = ended - began || 1;
  const whole = { name: 'whole', from: began, to: ended, failed: false };
  document.getElementById('hops').replaceChildren(...[...hops, whole].map((hop) => row(hop, began, length)));
  document.getElementById('way-note').textContent =
    `“${shorten(card.text ?? card.id)}” took ${ms(ended - began)} from write to screen.${before(spans, began)}`;
  document.getElementById('latency').textContent = ms(ended - began);
  remember(ended - began);
  steps.done(2);
}

function row(hop, began, length) {
  const item = document.createElement('li');
  item.className = hop.name === 'whole' ? 'hop whole' : 'hop';
  item.dataset.hop = hop.name;
  item.dataset.failed = String(hop.failed);
  const track = element('span', 'track');
  const bar = element('span', 'bar');
  bar.style.setProperty('--from', `${((hop.from - began) / length) * 100}%`);
  bar.style.setProperty('--width', `${((hop.to - hop.from) / length) * 100}%`);
  // The total needs no bar: it is as wide as all of them.
  if (hop.name !== 'whole') track.append(bar);
  item.append(element('span', 'name', hop.name), track, element('span', 'time', ms(hop.to - hop.from)));
  return item;
}

/** The spans before the write: the request, and the function that stored the card. */
function before(spans, writeBegan) {
  const http = spans.find((span) => span.name === 'function' && span.attributes.function !== 'changed');
  if (!http) return '';
  const lead = writeBegan - milliseconds(http.startUnixNs);
  return lead > 0 ? ` Before it, the function that stores cards took ${ms(lead)}.` : '';
}

function remember(time) {
  times.push(time);
  if (times.length > TIMES_MAX) times.shift();
  const highest = Math.max(...times);
  const bars = times.map((each) => {
    const bar = document.createElement('li');
    bar.style.setProperty('--height', `${(each / highest) * 100}%`);
    bar.title = ms(each);
    return bar;
  });
  document.getElementById('history').replaceChildren(...bars);
  document.getElementById('history-box').hidden = false;
}

function milliseconds(unixNs) {
  const ns = BigInt(unixNs);
  return Number(ns / 1_000_000n) + Number(ns % 1_000_000n) / 1e6;
}

export function ms(value) {
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

function shorten(text) {
  return text.length > 40 ? `${text.slice(0, 38)}…` : text;
}

function element(name, className, text = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}
