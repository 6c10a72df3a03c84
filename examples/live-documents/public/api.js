// The page's requests to the server: cards through the app's own functions, everything else through the APIs of the process.

/** The time of the wall clock in milliseconds, with a finer resolution than Date.now() while both clocks agree. */
export function now() {
  const fine = performance.timeOrigin + performance.now();
  const coarse = Date.now();
  return Math.abs(fine - coarse) > 2 ? coarse : fine;
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function listCards() {
  return json(await fetch('/api/cards', { cache: 'no-store' }));
}

/** Writes a card with a trace id of our own, so that its trace can be queried. Resolves when the change is accepted. */
export async function putCard(card) {
  const traceId = hex(16);
  const { text, column, colour } = card;
  const accepted = await json(await fetch(cardPath(card), {
    method: 'PUT',
    headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${hex(8)}-01` },
    body: JSON.stringify({ text, column, colour }),
  }));
  return { card: accepted, traceId };
}

export async function deleteCard(card) {
  const traceId = hex(16);
  const headers = { traceparent: `00-${traceId}-${hex(8)}-01` };
  const accepted = await json(await fetch(cardPath(card), { method: 'DELETE', headers }));
  return { card: accepted, traceId };
}

export const info = async () => json(await fetch('/chappe/api/info', { cache: 'no-store' }));
export const logs = async (after) => json(await fetch(`/chappe/api/logs?after=${after}`, { cache: 'no-store' }));
export const trace = async (id) => json(await fetch(`/chappe/api/traces/${id}`, { cache: 'no-store' }));
export const killWorkers = async () => json(await fetch('/chappe/api/workers/kill', { method: 'POST' }));

export async function source() {
  const response = await fetch('/source/changed.js', { cache: 'no-store' });
  if (!response.ok) throw new Error(`the source was answered with ${response.status}`);
  return response.text();
}

export function newId() {
  return hex(6);
}

function cardPath(card) {
  return `/api/cards/${encodeURIComponent(card.id)}`;
}

async function json(response) {
  const text = await response.text();
  if (response.ok) return text ? JSON.parse(text) : null;
  let reason = '';
  try {
    const body = JSON.parse(text);
    reason = body.error?.message ?? body.error ?? body.message ?? '';
  } catch { /* not JSON: the status says enough */ }
  throw new Error(reason ? `${reason} (${response.status})` : `the server answered ${response.status}`);
}

function hex(bytes) {
  const random = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
