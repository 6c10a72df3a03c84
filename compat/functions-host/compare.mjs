// What counts as equal between a recording of the vendor's host and a response of ours. Pure.

/** Left out of a response: headers about the framing of the body, the date and the server. */
const NOT_COMPARED = new Set(['date', 'server', 'transfer-encoding', 'content-length', 'keep-alive']);

/** The meaning of the placeholders in the recordings. */
const WORDS = {
  '<guid>': '[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}',
  '<n>': '\\d+',
  '<port>': '\\d+',
  '<key>': '[^"\\s]{20,}',
  '<home page>': '<!doctype html>.*',
};
const ANY_WORD = '[^"]*';
/** Placeholder for the omitted part of a long text. */
const CUT = /^<\d+ chars>$/;

/** The times in the trigger metadata of a timer, which are those of the recording. */
export const FIRED = /^\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d$/;

const quoted = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Whether a text matches a recorded text with placeholders. */
export function matches(template, text) {
  if (typeof template !== 'string' || typeof text !== 'string') return template === text;
  if (template === text) return true;
  const parts = template.split(/(<(?:[a-z ]+|\d+ chars)>)/);
  if (parts.length === 1) return false;
  const wordPattern = (word) => (CUT.test(word) ? '.*' : WORDS[word] ?? ANY_WORD);
  const pattern = parts.map((part, at) => (at % 2 === 0 ? quoted(part) : wordPattern(part))).join('');
  return new RegExp(`^${pattern}$`, 's').test(text);
}

/** Whether a value equals a recorded one, with object keys in any order. */
export function same(recorded, value) {
  if (Array.isArray(recorded)) {
    return Array.isArray(value) && recorded.length === value.length && recorded.every((each, at) => same(each, value[at]));
  }
  if (recorded !== null && typeof recorded === 'object') {
    if (value === null || typeof value !== 'object' || Array.isArray(value)) return false;
    const names = Object.keys(recorded);
    // Counts of the process, which are 0 in the recordings.
    const isCount = (name) => name === 'processUptime' || name === 'processId';
    return names.length === Object.keys(value).length
      && names.every((name) => name in value && (isCount(name) ? typeof value[name] === 'number' : same(recorded[name], value[name])));
  }
  if (matches(recorded, value)) return true;
  // A text that contains JSON, as .NET functions receive metadata.
  return typeof recorded === 'string' && recorded.startsWith('{') && typeof value === 'string' && sameJson(recorded, value);
}

function sameJson(recorded, text) {
  const [left, right] = [parsed(recorded), parsed(text)];
  return left !== undefined && right !== undefined && left !== null && typeof left === 'object' && same(left, right);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Header names are case-insensitive; values of one name keep their order. */
function headersOf(response) {
  const headers = response.headers.map(([name, value]) => [name.toLowerCase(), value]).filter(([name]) => !NOT_COMPARED.has(name));
  return headers.sort(([a], [b]) => (a < b ? -1 : Number(a > b)));
}

function sameBody(recorded, body) {
  return matches(recorded, body) || sameJson(recorded, body);
}

/** The differences between two responses: a list of short texts. */
export function responseDifferences(recorded, response) {
  const found = [];
  if (recorded.status !== response.status) found.push(`status ${recorded.status}, ours ${response.status}`);
  const [left, right] = [headersOf(recorded), headersOf(response)];
  const text = ([name, value]) => `${name}: ${value}`;
  for (const header of left) {
    if (!right.some((other) => other[0] === header[0] && matches(header[1], other[1]))) found.push(`lacks ${text(header)}`);
  }
  for (const header of right) {
    if (!left.some((other) => other[0] === header[0] && matches(other[1], header[1]))) found.push(`adds ${text(header)}`);
  }
  if (found.length === 0 && !same(left.map(([, value]) => value), right.map(([, value]) => value))) found.push('headers in another order');
  if (!sameBody(recorded.body, response.body)) found.push(`body ${short(recorded.body)}, ours ${short(response.body)}`);
  return found;
}

function short(value) {
  const text = typeof value === 'string' ? value : JSON.stringify(value) ?? String(value);
  return text.length > 300 ? `${text.slice(0, 300)}...` : text;
}

const unwrapped = (map) => Object.fromEntries(Object.entries(map).map(([name, { value }]) => [name, value]));

/** An identity with absent and null alike. */
function identity({ authenticationType, nameClaimType, roleClaimType, claims }) {
  const plain = (value) => (value !== null && typeof value === 'object' ? value.value : value) ?? null;
  return {
    authenticationType: plain(authenticationType), nameClaimType: plain(nameClaimType), roleClaimType: plain(roleClaimType),
    claims: (claims ?? []).map(({ value, type }) => ({ value, type })),
  };
}

export function metadataOf(metadata) {
  const value = ({ string, json }) => (string === undefined ? { json: parsed(json) } : { string });
  return Object.fromEntries(Object.entries(metadata).map(([name, each]) => [name, value(each)]));
}

const bytesOf = (body) => (body?.bytes ? Buffer.from(body.bytes.data).toString('base64') : null);

/** What a recorded worker of the vendor's host received, in the form of {@link sentOf}. */
export function recordedOf({ inputData: [{ name, data: { http } }], triggerMetadata, retryContext }) {
  return {
    trigger: name, method: http.method, url: http.url,
    headers: unwrapped(http.nullableHeaders), query: unwrapped(http.nullableQuery), params: unwrapped(http.nullableParams),
    body: bytesOf(http.body), identities: http.identities.map(identity), metadata: metadataOf(triggerMetadata), retry: retryContext,
  };
}

/** What our worker received, from a line of recorder.cjs. */
export function sentOf({ inputs: [{ name, data: { http } }], metadata, retry }) {
  return {
    trigger: name, method: http.method, url: http.url, headers: http.headers, query: http.query, params: http.params,
    body: bytesOf(http.body), identities: (http.identities ?? []).map(identity), metadata: metadataOf(metadata), retry,
  };
}

/** The differences between what two workers received. */
export function sentDifferences(recorded, sent) {
  if (!recorded && !sent) return [];
  if (!recorded || !sent) return [recorded ? 'the worker was not called' : `the worker was called with ${sent.method} ${sent.url}`];
  return Object.keys(recorded)
    .filter((part) => !same(recorded[part], sent[part]))
    .map((part) => `worker's ${part} ${short(recorded[part])}, ours ${short(sent[part])}`);
}
