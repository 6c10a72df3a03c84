// Authentication refresh of serverless clients: an app (here a small HTTP server) that serves {hubUrl}/negotiate and {hubUrl}/refresh with
// the service's REST interface, as an app with the management SDK does, and real clients.
//
// `withAuthenticationRefresh` was introduced with .NET 11; the newest client for JavaScript on npm, 10.0.11, does not have it. `Refreshing`
// below adds to that client what it does: it posts its login to {hubUrl}/refresh with the connection token, on request or by a timer that
// follows `tokenLifetimeSeconds`, and its transport continues with the token of the response.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, test } from 'node:test';

import * as signalR from '@microsoft/signalr';

import { Chappe, eventually, token } from './harness.mjs';
import { Proxy } from './realtime/proxy.mjs';

/** How long a login is valid: at least as long as a slow machine needs to connect. */
const LIFETIME_S = 6;

/** How long a connection that refreshes by its timer is observed: longer than two logins are valid. */
const WATCHED_MS = 2.5 * LIFETIME_S * 1000;

const JOIN = 'chappe.joinLeaveGroup';
const ROLE = 'http://schemas.microsoft.com/ws/2008/06/identity/claims/role';
const NAME = 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier';

/** The logins: a bearer token of the app, its user and its roles. */
const LOGINS = { 'ada-reader': ['ada', []], 'ada-member': ['ada', [JOIN]], bob: ['bob', []] };

const unixSeconds = () => Math.floor(Date.now() / 1000);

let chappe;
let app;
let appUrl;
/** Between the clients and the service. */
let proxy;

/** The app's server. */
function serve() {
  return http.createServer(async (request, response) => {
    const url = new URL(request.url, appUrl);
    const login = LOGINS[request.headers.authorization?.replace('Bearer ', '')];
    const answer = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    request.resume();
    try {
      if (!login) return answer(401, { error: 'invalid_token' });
      if (url.pathname === '/chat/negotiate') return answer(200, negotiated(login));
      if (url.pathname === '/chat/refresh') return answer(...(await refreshed(login, url.searchParams.get('id'))));
      return answer(404, {});
    } catch (cause) {
      return answer(500, { error: String(cause) });
    }
  });
}

const audience = () => `${chappe.urls.realtime}/client/?hub=chat`;

function negotiated([user, roles]) {
  const claims = { 'asrs.s.uid': user, role: roles, 'asrs.s.coae': 'true', 'asrs.s.aeo': String(unixSeconds() + LIFETIME_S) };
  const accessToken = token({ audience: audience(), lifetimeSeconds: LIFETIME_S, claims });
  return { url: `${proxy.url}/client/?hub=chat`, accessToken, tokenLifetimeSeconds: LIFETIME_S };
}

/** Sends the request to the service, and makes the client's next token from the claims in the response. */
async function refreshed([user, roles], connectionToken) {
  if (!connectionToken) return [400, { error: 'missing_connection_token' }];
  const claims = [{ type: NAME, value: user }, ...roles.map((value) => ({ type: ROLE, value }))];
  const expireTime = new Date((unixSeconds() + LIFETIME_S) * 1000).toISOString();
  const url = `${chappe.urls.realtime}/api/hubs/chat/connections/:refreshAuth`;
  const answer = await fetch(`${url}?api-version=2026-07-01`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token({ audience: url })}`, 'content-type': 'application/json' },
    body: JSON.stringify({ connectionToken, expireTime, claims }),
  });
  if (answer.status === 403) return [403, { error: 'permission_change_rejected' }];
  if (answer.status === 404) return [404, { error: 'connection_not_found' }];
  assert.equal(answer.status, 200, await answer.clone().text());
  const next = {};
  for (const { type, value } of (await answer.json()).claims) {
    const values = (next[type] ??= []);
    if (!values.includes(value)) values.push(value);
  }
  return [200, { accessToken: token({ audience: audience(), lifetimeSeconds: LIFETIME_S, claims: next }), tokenLifetimeSeconds: LIFETIME_S }];
}

/** Stores the negotiate response. */
class Recorder extends signalR.DefaultHttpClient {
  async send(request) {
    const response = await super.send(request);
    if (request.url.includes('/negotiate')) this.negotiated = JSON.parse(response.content);
    return response;
  }
}

/** A client with a login of the app, which can refresh it. */
class Refreshing {
  #recorder = new Recorder({ log() {} });
  #timer;
  #stopped = false;

  constructor(login, transport, { stateful = false } = {}) {
    this.login = login;
    const options = { accessTokenFactory: () => this.login, httpClient: this.#recorder, transport };
    const builder = new signalR.HubConnectionBuilder().withUrl(`${appUrl}/chat`, options).configureLogging(signalR.LogLevel.None);
    if (stateful) builder.withStatefulReconnect();
    this.connection = builder.build();
    this.closed = new Promise((resolve) => this.connection.onclose((cause) => resolve(cause ?? new Error('closed'))));
  }

  /** Refreshes once; the status and the response of the app. */
  async refresh() {
    const id = encodeURIComponent(this.#recorder.negotiated.connectionToken);
    const answer = await fetch(`${appUrl}/chat/refresh?id=${id}`, { method: 'POST', headers: { authorization: `Bearer ${this.login}` } });
    const body = await answer.json();
    // As version 11 does internally: every later request and every new socket of the transport has the new token.
    if (body.accessToken) {
      const { connection } = this.connection;
      connection._httpClient._accessToken = body.accessToken;
      connection.transport._accessTokenFactory = () => body.accessToken;
    }
    return [answer.status, body];
  }

  /** Refreshes by itself until `stopTimer`. */
  refreshByTimer() {
    const next = () => {
      if (!this.#stopped) this.#timer = setTimeout(() => this.refresh().then(next, () => {}), LIFETIME_S * 500);
    };
    next();
  }

  /** Starts no further refresh; one may be running. */
  stopTimer() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }
}

async function scenario(transport) {
  const client = new Refreshing('ada-reader', transport);
  await client.connection.start();
  const id = client.connection.connectionId;
  // A method that the token does not allow is allowed after an explicit refresh with another login of the same user.
  await assert.rejects(client.connection.invoke('chappe.joinGroup', 'g'), /role/);
  client.login = 'ada-member';
  assert.equal((await client.refresh())[0], 200);
  await client.connection.invoke('chappe.joinGroup', 'g');
  client.login = 'bob';
  assert.deepEqual(await client.refresh(), [403, { error: 'permission_change_rejected' }]);
  client.login = 'ada-member';
  // With its timer, the connection outlives two logins.
  client.refreshByTimer();
  const end = Date.now() + WATCHED_MS;
  while (Date.now() < end) {
    await client.connection.invoke('chappe.joinGroup', 'g');
    await new Promise((resolve) => { setTimeout(resolve, 200); });
  }
  assert.equal(client.connection.connectionId, id);
  // Without a refresh, it ends when its login expires.
  client.stopTimer();
  const cause = await client.closed;
  assert.match(cause.message, /expired|401|closed/i);
}

const TRANSPORTS = ['WebSockets', 'ServerSentEvents', 'LongPolling'];
const scenarios = new Map();

before(async () => {
  chappe = await Chappe.start({ settings: ['realtime.token_leeway_s=0'] });
  proxy = await Proxy.start(chappe.urls.realtime);
  app = serve().listen(0, '127.0.0.1');
  await once(app, 'listening');
  appUrl = `http://127.0.0.1:${app.address().port}`;
  // In parallel: they wait most of the time. Each failure belongs to its own test.
  for (const name of TRANSPORTS) scenarios.set(name, scenario(signalR.HttpTransportType[name]).then(() => null, (cause) => cause));
});

after(async () => {
  app?.close();
  await proxy?.stop();
  await chappe?.stop();
});

for (const name of TRANSPORTS) {
  test(`${name}: a token refreshed by hand and by the timer gives the connection new claims`, { timeout: 90_000 }, async () => {
    const failure = await scenarios.get(name);
    if (failure) throw failure;
  });
}

test('a lost WebSocket reconnects with the refreshed token', { timeout: 60_000 }, async () => {
  const client = new Refreshing('ada-member', signalR.HttpTransportType.WebSockets, { stateful: true });
  await client.connection.start();
  const id = client.connection.connectionId;
  const first = unixSeconds() + LIFETIME_S;
  client.refreshByTimer();
  await eventually(() => (unixSeconds() > first ? true : undefined), 'the end of the first token');
  const before = proxy.connections;
  proxy.cut();
  await client.connection.invoke('chappe.joinGroup', 'g');
  assert.ok(proxy.connections > before, 'it came back on a new socket');
  assert.equal(client.connection.connectionId, id);
  client.stopTimer();
  await client.connection.stop();
});

test('the token of an ended or unknown connection cannot be refreshed', async () => {
  const answer = await fetch(`${appUrl}/chat/refresh?id=nobody`, { method: 'POST', headers: { authorization: 'Bearer ada-reader' } });
  assert.deepEqual([answer.status, await answer.json()], [404, { error: 'connection_not_found' }]);
});
