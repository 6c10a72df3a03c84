'use strict';

// Replaces the .NET worker with ASP.NET Core integration and the recorded app (`apps/csharp-aspnet/Functions.cs`): it accepts HTTP requests
// at its own address. Its announcement and its functions are the recorded bytes (`csharp-worker/aspnet-start.jsonl`), except for the port;
// the functions do here what they do in C#.

const http = require('node:http');
const { once } = require('node:events');
const { connect, message } = require('./function-rpc.cjs');
const { CONTENT, SUCCESS, failure, metadataOf, shortHash, startOf, takeFor, usualName } = require('./recorded.cjs');

const start = startOf('aspnet-start.jsonl');
const TEXT = 'text/plain; charset=utf-8';
const JSON_TYPE = 'application/json; charset=utf-8';

/** The request as ASP.NET Core has it after its middleware for forwarded headers, which trusts the host. */
function requestOf({ incoming, body, metadata, id }) {
  const { method, url, socket, rawHeaders } = incoming;
  const forwarded = (name) => incoming.headers[`x-forwarded-${name}`];
  const headers = {};
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = usualName(rawHeaders[at]);
    // `Connection` concerns only the connection between the host and its worker.
    if (/^(x-forwarded-(for|host|proto)|connection|keep-alive)$/i.test(name)) continue;
    const separator = name === 'Cookie' ? '; ' : '|';
    headers[name] = headers[name] === undefined ? rawHeaders[at + 1] : `${headers[name]}${separator}${rawHeaders[at + 1]}`;
  }
  Object.assign(headers, {
    Host: forwarded('host'), 'X-Original-Proto': 'http', 'X-Original-Host': incoming.headers.host, 'X-Original-For': `127.0.0.1:${socket.remotePort}`,
  });
  const [path, query] = url.split('?');
  return { method, path, query: query === undefined ? '' : `?${query}`, headers, body, metadata, id, scheme: forwarded('proto'), remote: forwarded('for') };
}

function echo(request) {
  const { method, scheme, path, query, headers, body, metadata, id, remote } = request;
  const routeValues = Object.fromEntries(['category', 'id'].filter((name) => name in metadata).map((name) => [name, metadata[name]]));
  const cookies = headers.Cookie ? headers.Cookie.split(';').map((each) => each.trim()) : [];
  return {
    method, scheme, host: headers.Host, path, pathBase: '', query, protocol: 'HTTP/1.1', routeValues, headers, cookies,
    category: metadata.category, id: metadata.id === undefined ? null : Number(metadata.id),
    contentLength: headers['Content-Length'] === undefined ? null : Number(headers['Content-Length']), bodyLength: body.length,
    bodyText: body.toString('utf8'), remote, user: null, invocationId: id, trace: '', bindingData: metadata,
  };
}

/** Fields and files of a form whose parts are text. */
function formOf(body, type) {
  const boundary = type.match(/boundary=(\S+)/)[1];
  const answer = { fields: {}, files: [] };
  for (const part of body.toString('utf8').split(`--${boundary}`).slice(1, -1)) {
    const [head, ...rest] = part.slice(2, -2).split('\r\n\r\n');
    const content = rest.join('\r\n\r\n');
    const name = head.match(/ name="([^"]*)"/)[1];
    const fileName = head.match(/filename="([^"]*)"/)?.[1];
    if (fileName === undefined) answer.fields[name] = content;
    else {
      const contentType = head.match(/content-type: (.*)/i)[1].trim();
      answer.files.push({ name, fileName, length: content.length, contentType, sha: shortHash(content) });
    }
  }
  return answer;
}

function bodyPoco({ body }, response) {
  const { name, age } = JSON.parse(body.toString('utf8'));
  response.writeHead(200, { 'Content-Type': TEXT }).end(`${name} is ${age}`);
}

function file({ headers }, response) {
  const [, first, last] = headers.Range?.match(/^bytes=(\d+)-(\d+)$/) ?? headers.range?.match(/^bytes=(\d+)-(\d+)$/) ?? [];
  const all = '0123456789';
  const common = { 'Content-Type': 'text/plain', 'Accept-Ranges': 'bytes', 'Content-Disposition': "attachment; filename=ten.txt; filename*=UTF-8''ten.txt" };
  if (first === undefined) return response.writeHead(200, common).end(all);
  return response.writeHead(206, { ...common, 'Content-Range': `bytes ${first}-${last}/10` }).end(all.slice(Number(first), Number(last) + 1));
}

async function down({ metadata }, response) {
  response.writeHead(200, { 'Content-Type': 'application/octet-stream' });
  for (let at = 0; at < Number(metadata.chunks); at += 1) {
    response.write(String.fromCharCode(97 + (at % 26)).repeat(Number(metadata.bytes)));
    await new Promise((resolve) => { setTimeout(resolve, Number(metadata.ms)); });
  }
  response.end();
}

const json = (status, value, headers = {}) => (request, response) => {
  response.writeHead(status, { 'Content-Type': JSON_TYPE, ...headers }).end(JSON.stringify(typeof value === 'function' ? value(request) : value));
};
const empty = (status, headers = {}) => (request, response) => response.writeHead(status, { 'Content-Length': '0', ...headers }).end();

const FUNCTIONS = {
  Hello: ({ query }, response) => {
    const names = new URLSearchParams(query).getAll('name');
    response.writeHead(200, { 'Content-Type': TEXT }).end(`Hello, ${names.length ? names.join(',') : 'world'}`);
  },
  Echo: json(200, echo),
  Result: json(201, { ok: true }, { 'X-Two': ['a', 'b'], 'Set-Cookie': ['a=1; max-age=60; path=/x; samesite=lax; httponly', 'b=2; path=/'] }),
  NoContent: (request, response) => response.writeHead(204).end(),
  Redirect: empty(302, { Location: '/api/Hello' }),
  Nothing: empty(200),
  Cats: empty(200),
  Slow: empty(200),
  StreamDown: down,
  StreamUp: json(200, ({ body }) => ({ total: body.length, firstMs: 0, lastMs: 0, sha: shortHash(body) })),
  Duplex: ({ body }, response) => response.end(body),
  Upload: json(200, ({ body, headers }) => formOf(body, headers['Content-Type'])),
  BodyPoco: bodyPoco,
  Ok: json(200, { a: 1 }),
  File: file,
  FileStream: (request, response) => response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': '10' }).end('0123456789'),
  // Nothing was sent: .NET completes an empty response with 200, and reports the failure over the stream.
  Throw: (request, response) => {
    empty(200)(request, response);
    throw new Error('thrown on purpose');
  },
  ThrowLate: (request, response) => {
    response.write('some bytes');
    response.end();
    throw new Error('thrown late');
  },
};

/** Invocation id -> the parts that have arrived: over the stream and over HTTP. */
const joined = new Map();

async function join(id, half) {
  const both = { ...joined.get(id), ...half };
  joined.set(id, both);
  if (!both.name || !both.incoming) return;
  joined.delete(id);
  let result = SUCCESS;
  try {
    await FUNCTIONS[both.name](requestOf({ ...both, id }), both.response);
  } catch (error) {
    if (!both.response.writableEnded) both.response.writeHead(200, { 'Content-Length': '0' }).end();
    result = failure(error);
  }
  if (!both.response.writableFinished) await once(both.response, 'finish');
  send(CONTENT.invoked, message([1, id], [3, result]));
}

const server = http.createServer(async (incoming, response) => {
  const chunks = [];
  for await (const chunk of incoming) chunks.push(chunk);
  await join(incoming.headers['x-ms-invocation-id'], { incoming, response, body: Buffer.concat(chunks) });
});

let send;
server.listen(0, 'localhost', () => {
  // A map of texts with length prefixes: the recorded address is replaced by one of the same length.
  const address = `http://localhost:${String(server.address().port).padStart(5, '0')}/`;
  const recordedAddress = start.initAnswer.toString('latin1').match(/http:\/\/localhost:\d+\//)[0];
  if (recordedAddress.length !== address.length) throw new Error(`the recorded address is ${recordedAddress}`);
  start.initAnswer = Buffer.from(start.initAnswer.toString('latin1').replace(recordedAddress, address), 'latin1');
  send = connect((content, body) => takeFor(start, send, (other, request) => {
    if (other !== CONTENT.invoke) return;
    const id = String(request[1][0]);
    join(id, { name: start.names.get(String(request[2][0])), metadata: metadataOf(request) });
  })(content, body));
});
