'use strict';

// Stands in for the .NET worker with the recorded C# app (`apps/csharp/Functions.cs`), where there is no .NET. How it announces itself and its
// functions, and the answers that do not depend on the request, are the recorded bytes of the real worker (`csharp-worker/httpdata-*.jsonl`
// in the folder FUNCTIONS_HOST_CSHARP); the other functions do here what they do in C#.

const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { connect, message, parse, textMap } = require('./function-rpc.cjs');

const CONTENT = { log: 2, invoke: 4, invoked: 5, load: 8, loaded: 9, status: 12, statusAnswer: 13, terminate: 14, initAnswer: 16, init: 17, metadata: 29, metadataAnswer: 30 };
const SUCCESS = message([4, 1]);

/** The recorded messages of a file, as content number and body. */
function recorded(file) {
  const lines = readFileSync(path.join(process.env.FUNCTIONS_HOST_CSHARP, file), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  return lines.map(({ hex }) => {
    const fields = parse(Buffer.from(hex, 'hex'));
    const content = Object.keys(fields).map(Number).find((number) => number !== 1);
    return { content, body: content && fields[content][0] };
  });
}

const start = recorded('httpdata-start.jsonl');
const bodyOf = (content) => start.find((each) => each.content === content).body;
/** Function id -> name. */
const names = new Map(parse(bodyOf(CONTENT.metadataAnswer))[1].map(parse).map((each) => [String(each[13][0]), String(each[4][0])]));
/** Name -> the recorded answer's fields, for functions whose answer is always the same. */
const constants = new Map();
const asked = new Map();
for (const { content, body } of recorded('httpdata-http.jsonl')) {
  if (content === CONTENT.invoke) asked.set(String(parse(body)[1][0]), names.get(String(parse(body)[2][0])));
  if (content === CONTENT.invoked) constants.set(asked.get(String(parse(body)[1][0])), parse(body));
}
const CONSTANT = new Set(['Cookies', 'NoContent', 'Nothing', 'Text', 'ReturnPoco']);

/** The request as `HttpRequestData` has it. */
function requestOf(invocation) {
  const http = parse(parse(parse(invocation[3][0])[2][0])[5][0]);
  const body = http[4][0] ? parse(http[4][0]) : [];
  const metadata = Object.fromEntries(invocation[4].map(parse).map(({ 1: [name], 2: [data] }) => {
    const value = parse(data);
    return [String(name ?? ''), String(value[1]?.[0] ?? value[2]?.[0] ?? '')];
  }));
  return {
    method: String(http[1][0]), url: String(http[2][0]), headers: textMap(http[20], true), body: Buffer.from(body[3]?.[0] ?? body[1]?.[0] ?? ''),
    identities: http[18].length, metadata,
  };
}

/** `HttpUtility.ParseQueryString`: names without case, values of one name joined, bytes that are not UTF-8 replaced. */
function queryOf(url) {
  const found = new Map();
  for (const [name, value] of new URL(url).searchParams) {
    const known = found.get(name.toLowerCase());
    if (known) known.value += `,${value}`;
    else found.set(name.toLowerCase(), { name, value });
  }
  return found;
}

/** Names that .NET's collection of headers knows; it splits the values of the second list. */
const KNOWN = ['Accept', 'Content-Length', 'Content-Type', 'Cookie', 'Host', 'Transfer-Encoding', 'User-Agent'];
const LISTS = ['Accept'];

function headersOf(headers) {
  return Object.fromEntries(Object.entries(headers).map(([lower, value]) => {
    const name = KNOWN.find((each) => each.toLowerCase() === lower) ?? lower;
    return [name, LISTS.includes(name) ? value.split(',').map((each) => each.trim()).join('|') : value];
  }));
}

function respond(status, headers, body) {
  const fields = Object.entries(headers).map(([name, value]) => [3, message([1, name], [2, value])]);
  return message([5, message(...fields, [4, message([3, body])], [12, String(status)])]);
}

const upper = (bytes) => createHash('sha256').update(bytes).digest('hex').toUpperCase().slice(0, 16);

function echo(request, invocationId) {
  const { method, url, headers, body, identities, metadata } = request;
  const answer = {
    method, url,
    query: Object.fromEntries([...queryOf(url).values()].map(({ name, value }) => [name, value])),
    headers: headersOf(headers),
    cookies: headers.cookie ? headers.cookie.split(';').map((each) => each.trim()) : [],
    category: metadata.category, id: metadata.id === undefined ? null : Number(metadata.id),
    bodyLength: body.length, bodyHash: upper(body), bodyText: body.length < 200 ? body.toString('utf8') : null,
    // What the recording could not have: traces were switched off.
    identities, InvocationId: invocationId, retry: null, trace: '', bindingData: metadata,
  };
  return respond(200, { 'Content-Type': 'application/json; charset=utf-8' }, JSON.stringify(answer));
}

function bodyPoco({ body }) {
  const { name, age } = JSON.parse(body.toString('utf8'));
  return respond(200, {}, `${name} is ${age}`);
}

const FUNCTIONS = {
  Hello: ({ url }) => respond(200, { 'Content-Type': 'text/plain; charset=utf-8' }, `Hello, ${queryOf(url).get('name')?.value ?? 'world'}`),
  Echo: echo,
  Bytes: ({ body }) => respond(202, { 'Content-Type': 'application/octet-stream', 'X-Two': 'a,b' }, body),
  BodyPoco: bodyPoco,
  Throw: () => { throw new Error('thrown on purpose'); },
  Status: ({ metadata }) => respond(metadata.code, {}, ''),
  Slow: () => respond(200, {}, ''),
  Logs: () => respond(200, {}, ''),
  Keyed: () => respond(200, {}, ''),
};

function invoke(invocation) {
  const id = String(invocation[1][0]);
  const name = names.get(String(invocation[2][0]));
  if (CONSTANT.has(name)) {
    const answer = constants.get(name);
    const value = answer[4][0] ? [[4, answer[4][0]]] : [];
    return message([1, id], [3, answer[3][0]], ...value);
  }
  try {
    return message([1, id], [3, SUCCESS], [4, FUNCTIONS[name](requestOf(invocation), id)]);
  } catch (error) {
    const exception = message([1, error.stack], [2, error.message], [5, 'System.InvalidOperationException']);
    return message([1, id], [3, message([2, exception])]);
  }
}

const send = connect((content, body) => {
  switch (content) {
    case CONTENT.init: return send(CONTENT.initAnswer, bodyOf(CONTENT.initAnswer));
    case CONTENT.metadata: return send(CONTENT.metadataAnswer, bodyOf(CONTENT.metadataAnswer));
    case CONTENT.load: return send(CONTENT.loaded, message([1, body[1][0]], [2, SUCCESS]));
    case CONTENT.invoke: return send(CONTENT.invoked, invoke(body));
    case CONTENT.status: return send(CONTENT.statusAnswer, Buffer.alloc(0));
    case CONTENT.terminate: return process.exit(0);
    default: return undefined;
  }
});
