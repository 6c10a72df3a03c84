'use strict';

// Replaces the .NET worker with the recorded C# app (`apps/csharp/Functions.cs`) on machines without .NET. Its announcement, its functions,
// and the responses that do not depend on the request are the recorded bytes of the real worker (`csharp-worker/httpdata-*.jsonl`); the
// other functions do here what they do in C#.

const { connect, message, parse, textMap } = require('./function-rpc.cjs');
const { CONTENT, SUCCESS, failure, metadataOf, recorded, shortHash, startOf, takeFor, usualName } = require('./recorded.cjs');

const start = startOf('httpdata-start.jsonl');
/** Name -> the recorded response's fields, for functions whose response is always the same. */
const constants = new Map();
const asked = new Map();
for (const { content, body } of recorded('httpdata-http.jsonl')) {
  if (content === CONTENT.invoke) asked.set(String(parse(body)[1][0]), start.names.get(String(parse(body)[2][0])));
  if (content === CONTENT.invoked) constants.set(asked.get(String(parse(body)[1][0])), parse(body));
}
const CONSTANT = new Set(['Cookies', 'NoContent', 'Nothing', 'Text', 'ReturnPoco']);

/** The request as `HttpRequestData` has it. */
function requestOf(invocation) {
  const http = parse(parse(parse(invocation[3][0])[2][0])[5][0]);
  const body = http[4][0] ? parse(http[4][0]) : [];
  return {
    method: String(http[1][0]), url: String(http[2][0]), headers: textMap(http[20], true), body: Buffer.from(body[3]?.[0] ?? body[1]?.[0] ?? ''),
    identities: http[18].length, metadata: metadataOf(invocation),
  };
}

/** `HttpUtility.ParseQueryString`: names are case-insensitive, values of one name are joined, bytes that are not UTF-8 are replaced. */
function queryOf(url) {
  const found = new Map();
  for (const [name, value] of new URL(url).searchParams) {
    const known = found.get(name.toLowerCase());
    if (known) known.value += `,${value}`;
    else found.set(name.toLowerCase(), { name, value });
  }
  return found;
}

/** Headers whose values .NET splits at commas. */
const LISTS = ['Accept'];

function headersOf(headers) {
  return Object.fromEntries(Object.entries(headers).map(([lower, value]) => {
    const name = usualName(lower);
    return [name, LISTS.includes(name) ? value.split(',').map((each) => each.trim()).join('|') : value];
  }));
}

function respond(status, headers, body) {
  const fields = Object.entries(headers).map(([name, value]) => [3, message([1, name], [2, value])]);
  return message([5, message(...fields, [4, message([3, body])], [12, String(status)])]);
}

function echo(request, invocationId) {
  const { method, url, headers, body, identities, metadata } = request;
  const answer = {
    method, url,
    query: Object.fromEntries([...queryOf(url).values()].map(({ name, value }) => [name, value])),
    headers: headersOf(headers),
    cookies: headers.cookie ? headers.cookie.split(';').map((each) => each.trim()) : [],
    category: metadata.category, id: metadata.id === undefined ? null : Number(metadata.id),
    bodyLength: body.length, bodyHash: shortHash(body), bodyText: body.length < 200 ? body.toString('utf8') : null,
    // Not in the recording, because traces were switched off.
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
  const name = start.names.get(String(invocation[2][0]));
  if (CONSTANT.has(name)) {
    const answer = constants.get(name);
    const value = answer[4][0] ? [[4, answer[4][0]]] : [];
    return message([1, id], [3, answer[3][0]], ...value);
  }
  try {
    return message([1, id], [3, SUCCESS], [4, FUNCTIONS[name](requestOf(invocation), id)]);
  } catch (error) {
    return message([1, id], [3, failure(error)]);
  }
}

const send = connect((content, body) => takeFor(start, send, (other, request) => {
  if (other === CONTENT.invoke) send(CONTENT.invoked, invoke(request));
})(content, body));
