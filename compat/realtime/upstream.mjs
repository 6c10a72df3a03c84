// An app in serverless mode: its upstream, its negotiate function, and the page of the browser tests.
//
// It is strict: every request that violates the rules of upstreams is refused, and recorded in `faults`.

import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { SIGNALR_KEY } from '../harness.mjs';
import { completion, protocolOf, read } from './framing.mjs';
import { Hub } from './hub.mjs';
import { Growing } from './waiting.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const MESSAGE_TYPES = { invocation: 1, item: 2, completion: 3, stream: 4, cancel: 5, connected: 10, disconnected: 11 };
const NAMES = Object.fromEntries(Object.entries(MESSAGE_TYPES).map(([name, type]) => [type, name]));

/** Files that pages may load: the clients as browsers load them, and the modules that run in a page. */
const FILES = {
  '/new/signalr.js': '../node_modules/@microsoft/signalr/dist/browser/signalr.js',
  '/new/messagepack.js': '../node_modules/@microsoft/signalr-protocol-msgpack/dist/browser/signalr-protocol-msgpack.js',
  '/old/signalr.js': '../node_modules/@aspnet/signalr/dist/browser/signalr.js',
  '/old/msgpack5.js': '../node_modules/msgpack5/dist/msgpack5.js',
  '/old/messagepack.js': '../node_modules/@aspnet/signalr-protocol-msgpack/dist/browser/signalr-protocol-msgpack.js',
  '/interruptions.mjs': 'interruptions.mjs',
  '/javascript.mjs': 'javascript.mjs',
  '/scenarios.mjs': 'scenarios.mjs',
  '/waiting.mjs': 'waiting.mjs',
};

/** What a page of each client version loads, in this order. */
const SCRIPTS = { new: ['signalr', 'messagepack'], old: ['msgpack5', 'signalr', 'messagepack'] };

export class Upstream {
  /** What the service sent, in order of arrival. */
  seen = new Growing();
  /** Violations by the service, as text. */
  faults = [];
  #server;
  #hub;

  static async start() {
    const upstream = new Upstream();
    upstream.#server = createServer((request, response) => void upstream.#answer(request, response));
    upstream.#server.listen(0, '127.0.0.1');
    await once(upstream.#server, 'listening');
    upstream.url = `http://127.0.0.1:${upstream.#server.address().port}`;
    return upstream;
  }

  /** The `--set` value that makes the service call this upstream for every event of every hub. */
  get setting() {
    return `realtime.upstream.templates=[{url_template="${this.url}/upstream/{hub}/{category}/{event}"}]`;
  }

  /** Sets the service that this app belongs to: `call` makes its REST requests, `access` its tokens. */
  serve({ call, access }) {
    this.#hub = new Hub(call, (fault) => this.faults.push(fault));
    this.access = access;
  }

  /** Releases the pending calls of the method `hold` for a connection. */
  release(connection) {
    this.#hub.release(connection);
  }

  /** The first event of a hub, also an earlier one, that has all of these values. */
  saw(hub, values) {
    const names = Object.keys(values);
    return this.seen.find((event) => event.hub === hub && names.every((name) => event[name] === values[name]),
      `${JSON.stringify(values)} of ${hub}`);
  }

  /** All events of a hub so far that have all of these values. */
  all(hub, values) {
    const names = Object.keys(values);
    return this.seen.all.filter((event) => event.hub === hub && names.every((name) => event[name] === values[name]));
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #answer(request, response) {
    const url = new URL(request.url, this.url);
    try {
      if (url.pathname.startsWith('/upstream/')) await this.#event(url, request, response);
      else if (url.pathname.startsWith('/app/')) await this.#negotiate(url, request, response);
      else await page(url, response);
    } catch (error) {
      this.faults.push(`${request.method} ${request.url}: ${error.message}`);
      response.writeHead(500, { 'content-type': 'text/plain' }).end(String(error.message));
    }
  }

  /** An event of the service. */
  async #event(url, request, response) {
    const bytes = await body(request);
    const event = this.#read(url, request, bytes);
    this.seen.push(event);
    if (event.category === 'connections') return void response.writeHead(204).end();
    const answer = await this.#hub.handle(event);
    if (answer.status) return void response.writeHead(answer.status).end();
    if (answer.id === undefined) return void response.writeHead(204).end();
    response.writeHead(200, { 'content-type': 'application/octet-stream' });
    response.end(completion(event.protocol, answer.id, answer));
  }

  /** Checks a request against the rules of upstreams, and returns it as an event. */
  #read(url, request, bytes) {
    const [, , hub, category, name] = url.pathname.split('/').map(decodeURIComponent);
    const header = (named) => request.headers[named];
    const claim = (found, rule) => {
      if (!found) throw new Error(rule);
    };
    claim(request.method === 'POST', 'events are POSTed');
    claim(header('x-asrs-hub') === hub, `X-ASRS-Hub is ${header('x-asrs-hub')}, not ${hub}`);
    claim(header('x-asrs-category') === category, `X-ASRS-Category is ${header('x-asrs-category')}, not ${category}`);
    claim(header('x-asrs-event') === name, `X-ASRS-Event is ${header('x-asrs-event')}, not ${name}`);
    const connection = header('x-asrs-connection-id');
    claim(connection, 'X-ASRS-Connection-Id is missing');
    const wanted = `sha256=${createHmac('sha256', SIGNALR_KEY).update(connection).digest('hex')}`;
    claim(header('x-asrs-signature')?.toLowerCase().split(',').includes(wanted), 'X-ASRS-Signature is wrong');
    const protocol = protocolOf(header('content-type'));
    claim(protocol, `${header('content-type')} is no content type of an event`);
    const message = read(protocol, bytes);
    const kind = NAMES[message.type];
    claim(kind, `type ${message.type} is not for an upstream`);
    claim((message.type >= 10) === (category === 'connections'), `a ${kind} in the category ${category}`);
    return {
      hub, category, event: name, connection, protocol, kind,
      user: header('x-asrs-user-id'),
      claims: exactClaims(header('x-asrs-user-claims-encoded')),
      query: header('x-asrs-client-query'),
      id: message.invocationId ?? undefined,
      target: message.target,
      args: message.arguments,
      streamIds: message.streamIds ?? [],
      item: message.item,
      error: message.error,
    };
  }

  /** The response of an app's negotiate function: the address of the service, and a token for it. */
  async #negotiate(url, request, response) {
    const origin = request.headers.origin;
    const cors = origin && {
      'access-control-allow-origin': origin,
      'access-control-allow-credentials': 'true',
      'access-control-allow-headers': 'authorization,content-type,x-requested-with,x-signalr-user-agent',
    };
    if (request.method === 'OPTIONS') return void response.writeHead(204, cors).end();
    const [, , hub, last] = url.pathname.split('/');
    if (request.method !== 'POST' || last !== 'negotiate') return void response.writeHead(404, cors).end();
    const { url: service, accessToken } = this.access({ hub, user: url.searchParams.get('user') ?? undefined });
    response.writeHead(200, { ...cors, 'content-type': 'application/json' });
    response.end(JSON.stringify({ url: service, accessToken, availableTransports: [] }));
  }
}

/** The claims from the encoded header, which is exact, by type. */
function exactClaims(encoded) {
  const list = encoded ? JSON.parse(Buffer.from(encoded, 'base64').toString('utf8')) : [];
  return Object.fromEntries(list.map(({ type, value }) => [type, value]));
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The page of the browser tests, with the clients that it loads. */
async function page(url, response) {
  const file = FILES[url.pathname];
  if (file) {
    response.writeHead(200, { 'content-type': 'text/javascript' });
    return void response.end(await readFile(path.join(here, file)));
  }
  const age = url.pathname.slice(1);
  const scripts = SCRIPTS[age];
  if (!scripts) return void response.writeHead(404).end();
  response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
  response.end(`<!doctype html><title>${age}</title><link rel="icon" href="data:,">
${scripts.map((name) => `<script src="/${age}/${name}.js"></script>`).join('\n')}
<script type="module">
  import { clients } from '/javascript.mjs';
  import { interruptions } from '/interruptions.mjs';
  import { play, scenarios } from '/scenarios.mjs';
  const plays = { ...scenarios, ...interruptions };
  const connect = clients({ signalR, MessagePackHubProtocol: signalR.protocols.msgpack.MessagePackHubProtocol });
  window.run = (name, stage) => play(plays[name], { ...stage, connect, call: (what, ...args) => window.call(what, args) });
</script>`);
}
