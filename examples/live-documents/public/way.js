// The way of a change, from the trace that the process carried through: write, feed, function, send, screen.

import * as api from './api.js';

const HOPS = [
  ['write', (span) => span.name === 'documents.write'],
  ['feed', (span) => span.name === 'feed'],
  ['function', (span) => span.name === 'function' && span.attributes.function === 'changed'],
  ['send', (span) => span.name === 'send'],
];
const TIMES_MAX = 40;
/** The last spans end after the message has left; they are asked for again until they are there. */
const LOOKS_MS = [40, 120, 300, 800];

const times = [];
let newest = 0;

/** Shows the way of a change whose trace is known, and that all panes have at `seenAt` (wall clock, milliseconds). */
export async function show(traceparent, seenAt, card) {
  const id = traceparent.split('-')[1];
  const turn = (newest += 1);
  for (const wait of LOOKS_MS) {
    await api.pause(wait);
    // A newer change is on its way to the screen: it is the one to show.
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
  const hops = found.map(({ name, span }) => ({
    name,
    from: milliseconds(span.startUnixNs),
    to: milliseconds(span.endUnixNs),
    failed: Boolean(span.error),
  }));
  const send = hops.find(({ name }) => name === 'send');
  if (send) hops.push({ name: 'screen', from: Math.min(send.to, seenAt), to: seenAt, failed: false });
  return hops;
}

function draw(hops, card, spans) {
  const began = hops[0].from;
  const ended = hops.at(-1).to;
  const length = Math.max(...hops.map(({ to }) => to)) - began || 1;
  const list = document.getElementById('hops');
  list.replaceChildren(...hops.map((hop) => row(hop, began, length)));
  list.hidden = false;
  document.getElementById('way-note').textContent =
    `“${shorten(card.text ?? card.id)}” took ${ms(ended - began)} from write to screen.${before(spans, began)}`;
  document.getElementById('latency').textContent = ms(ended - began);
  remember(ended - began);
}

function row(hop, began, length) {
  const item = document.createElement('li');
  item.className = 'hop';
  item.dataset.hop = hop.name;
  item.dataset.failed = String(hop.failed);
  const track = element('span', 'track');
  const bar = element('span', 'bar');
  bar.style.setProperty('--from', `${((hop.from - began) / length) * 100}%`);
  bar.style.setProperty('--width', `${((hop.to - hop.from) / length) * 100}%`);
  track.append(bar);
  item.append(element('span', 'name', hop.name), track, element('span', 'time', ms(hop.to - hop.from)));
  return item;
}

/** What came before the write: the request, and the function that stored the card. */
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
