// The real SignalR client against the realtime service: on its own port, and through the gateway.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { HttpTransportType } from '@microsoft/signalr';

import { Chappe, Messages, client, eventually, happens, token } from './harness.mjs';

const HUB = 'chat';
let chappe;

before(async () => { chappe = await Chappe.start(); });
after(() => chappe?.stop());

function clientUrl(base = chappe.urls.realtime, hub = HUB) {
  return `${base}/client/?hub=${hub}`;
}

function access({ user, hub = HUB, ...more } = {}) {
  const claims = user ? { nameid: user } : {};
  return token({ audience: clientUrl(chappe.urls.realtime, hub), claims, ...more });
}

/** A started client with its messages. */
async function join({ user, protocol = 'json', base, ...options } = {}) {
  const connection = client(clientUrl(base), { accessToken: access({ user }), protocol, ...options });
  const messages = new Messages(connection, 'news');
  await connection.start();
  return { connection, messages };
}

async function rest(method, path, body, { key } = {}) {
  const url = `${chappe.urls.realtime}${path}`;
  const authorization = `Bearer ${token({ audience: url, key })}`;
  const headers = { authorization, 'content-type': 'application/json' };
  return fetch(url, { method, headers, body: body && JSON.stringify(body) });
}

async function accepted(method, path, body, status = 202) {
  const response = await rest(method, path, body);
  assert.equal(response.status, status, `${method} ${path}: ${await response.text()}`);
}

const news = (...args) => ({ target: 'news', arguments: args });

/** Both forms of the data plane, by the paths of the four kinds of receivers. */
const FORMS = {
  v1: (to) => `/api/v1/hubs/${HUB}${to}`,
  'api-version': (to) => `/api/hubs/${HUB}${to}/:send?api-version=2022-06-01`,
};

for (const protocol of ['json', 'messagepack']) {
  for (const [form, path] of Object.entries(FORMS)) {
    test(`${protocol}, ${form}: messages to all clients, a user, a group and a connection arrive`, async () => {
      const ada = await join({ user: 'ada', protocol });
      const ben = await join({ user: 'ben', protocol });
      const id = ada.connection.connectionId;
      assert.ok(id, 'negotiate v1 gives a connection id');

      await accepted('POST', path(''), news('everybody', { deep: [1, 2.5, null, 'ä😀'] }));
      for (const { messages } of [ada, ben]) {
        const [, value] = await messages.find((text) => text === 'everybody');
        assert.deepEqual(value, { deep: [1, 2.5, null, 'ä😀'] });
      }
      await accepted('POST', path('/users/ada'), news('to ada'));
      await ada.messages.find((text) => text === 'to ada');

      const group = `/api/v1/hubs/${HUB}/groups/team/connections/${id}`;
      await accepted('PUT', group, undefined, 200);
      await accepted('POST', path('/groups/team'), news('to the team'));
      await ada.messages.find((text) => text === 'to the team');
      await accepted('DELETE', group, undefined, 200);
      await accepted('POST', path('/groups/team'), news('to nobody'));

      await accepted('POST', path(`/connections/${id}`), news('to one connection'));
      await ada.messages.find((text) => text === 'to one connection');

      // A message that Ben must not receive would have arrived before this one.
      await accepted('POST', path('/users/ben'), news('last'));
      await ben.messages.find((text) => text === 'last');
      assert.deepEqual(ben.messages.all.map(([text]) => text), ['everybody', 'last']);
      await accepted('POST', path('/users/ada'), news('last'));
      await ada.messages.find((text) => text === 'last');
      assert.ok(!ada.messages.all.some(([text]) => text === 'to nobody'));
      await ada.connection.stop();
      await ben.connection.stop();
    });
  }
}

test('messages of one sender keep their order', async () => {
  const { connection, messages } = await join();
  for (let number = 0; number < 100; number += 1) await accepted('POST', `/api/v1/hubs/${HUB}`, news(number));
  await messages.until(() => messages.all.length === 100, 'a hundred messages');
  assert.deepEqual(messages.all.map(([number]) => number), Array.from({ length: 100 }, (_, number) => number));
  await connection.stop();
});

test('an excluded connection receives no message', async () => {
  const [ada, ben] = [await join(), await join()];
  const excluded = `excluded=${encodeURIComponent(ada.connection.connectionId)}`;
  await accepted('POST', `/api/v1/hubs/${HUB}?${excluded}`, news('not for ada'));
  await ben.messages.find((text) => text === 'not for ada');
  await accepted('POST', `/api/v1/hubs/${HUB}`, news('for both'));
  await ada.messages.find((text) => text === 'for both');
  assert.equal(ada.messages.all.length, 1);
  await Promise.all([ada.connection.stop(), ben.connection.stop()]);
});

test('the group membership of a user applies to later connections', async () => {
  await accepted('PUT', `/api/v1/hubs/${HUB}/groups/later/users/eve`);
  const { connection, messages } = await join({ user: 'eve' });
  await accepted('POST', `/api/v1/hubs/${HUB}/groups/later`, news('hello'));
  await messages.find((text) => text === 'hello');
  await connection.stop();
});

test('a closed connection is reported as not existing', async () => {
  const { connection } = await join({ retry: false });
  const path = `/api/v1/hubs/${HUB}/connections/${connection.connectionId}`;
  await accepted('HEAD', path, undefined, 200);
  const closed = happens(connection, 'onclose');
  await accepted('DELETE', path, undefined, 202);
  await closed;
  const gone = await rest('HEAD', path);
  assert.equal(gone.status, 404);
  assert.equal(gone.headers.get('x-ms-error-code'), 'Warning.Connection.NotExisted');
});

test('connections through the gateway work', async () => {
  const { connection, messages } = await join({ base: chappe.urls.gateway, protocol: 'messagepack' });
  await accepted('POST', `/api/v1/hubs/${HUB}`, news('through the gateway'));
  await messages.find((text) => text === 'through the gateway');
  await connection.stop();
});

test('a WebSocket without negotiation authenticates with the token in its query', async () => {
  const { connection, messages } = await join({ transport: HttpTransportType.WebSockets });
  await accepted('POST', `/api/v1/hubs/${HUB}`, news('straight'));
  await messages.find((text) => text === 'straight');
  await connection.stop();
});

test('an invocation without a handler returns an error', async () => {
  const { connection } = await join();
  await assert.rejects(connection.invoke('anything', 1), /upstream/i);
  await connection.stop();
});

test('a stream invocation without a handler ends with an error', async () => {
  const { connection } = await join({ protocol: 'messagepack' });
  const failure = new Promise((resolve, reject) => {
    connection.stream('anything', 1).subscribe({ next: reject, complete: reject, error: resolve });
  });
  assert.match(String(await failure), /upstream/i);
  await connection.stop();
});

test('groups and users exist while they have connections', async () => {
  const { connection } = await join({ user: 'known' });
  const user = `/hubs/${HUB}/users/known`;
  const group = `/hubs/${HUB}/groups/known`;
  await accepted('PUT', `/api/v1${group}/connections/${connection.connectionId}`, undefined, 200);
  for (const thing of [user, group]) {
    await accepted('GET', `/api/v1${thing}`, undefined, 200);
    await accepted('HEAD', `/api${thing}?api-version=2022-06-01`, undefined, 200);
  }
  await connection.stop();
  const gone = async (path) => (await rest('HEAD', path)).status === 404 || undefined;
  for (const thing of [user, group]) await eventually(() => gone(`/api/v1${thing}`), `the end of ${thing}`);
});

test('a connection leaves all its groups at once', async () => {
  const { connection, messages } = await join({ user: 'leaver' });
  const of = `/api/hubs/${HUB}/connections/${connection.connectionId}/groups`;
  const version = '?api-version=2024-12-01';
  for (const group of ['one', 'two', 'three']) await accepted('PUT', `${of}/${group}${version}`, undefined, 200);
  await accepted('DELETE', `/api/hubs/${HUB}/groups/one/connections/${connection.connectionId}${version}`, undefined, 200);
  await accepted('POST', `/api/v1/hubs/${HUB}/groups/one`, news('in one'));
  await accepted('POST', `/api/v1/hubs/${HUB}/groups/two`, news('in two'));
  await messages.find((text) => text === 'in two');
  await accepted('DELETE', `${of}${version}`, undefined, 200);
  for (const group of ['one', 'two', 'three']) await accepted('POST', `/api/v1/hubs/${HUB}/groups/${group}`, news('in none'));
  await accepted('POST', `/api/v1/hubs/${HUB}/users/leaver`, news('last'));
  await messages.find((text) => text === 'last');
  assert.deepEqual(messages.all.map(([text]) => text), ['in two', 'last']);
  await connection.stop();
});

test('connections of a hub, a user and a group are closed together', async () => {
  const close = (to, query = '') => accepted('POST', `/api/hubs/${HUB}${to}/:closeConnections?api-version=2022-06-01${query}`, undefined, 204);
  const ada = await join({ user: 'ada', retry: false });
  const ben = await join({ user: 'ben', retry: false });
  const eve = await join({ user: 'eve', retry: false, protocol: 'messagepack' });
  const closed = [ada, ben, eve].map(({ connection }) => happens(connection, 'onclose'));
  await close('/users/ada', '&reason=enough');
  assert.match(String(await closed[0]), /enough/);
  await accepted('PUT', `/api/v1/hubs/${HUB}/groups/closing/connections/${eve.connection.connectionId}`, undefined, 200);
  await close('/groups/closing');
  await closed[2];
  await accepted('POST', `/api/v1/hubs/${HUB}/users/ben`, news('still here'));
  await ben.messages.find((text) => text === 'still here');
  const other = await join({ user: 'other', retry: false });
  await close('', `&excluded=${encodeURIComponent(other.connection.connectionId)}`);
  await closed[1];
  await accepted('POST', `/api/v1/hubs/${HUB}/users/other`, news('left out'));
  await other.messages.find((text) => text === 'left out');
  await other.connection.stop();
});

test('the application name of a request prefixes its hub', async () => {
  const hub = `app_${HUB}`;
  const connection = client(clientUrl(undefined, hub), { accessToken: access({ hub }) });
  const messages = new Messages(connection, 'news');
  await connection.start();
  await accepted('POST', `/api/hubs/${HUB}/:send?api-version=2022-06-01`, news('for the hub without'));
  await accepted('POST', `/api/hubs/${HUB}/:send?api-version=2022-06-01&application=App`, news('for the application'));
  await messages.find((text) => text === 'for the application');
  assert.equal(messages.all.length, 1);
  await connection.stop();
});

test('the end of a login closes the connection and allows it to reconnect', async () => {
  const soon = Math.floor(Date.now() / 1000) + 2;
  const claims = { nameid: 'guest', 'asrs.s.coae': 'True', 'asrs.s.aeo': String(soon) };
  const accessToken = token({ audience: clientUrl(), claims });
  const connection = client(clientUrl(), { accessToken });
  await connection.start();
  const reconnecting = happens(connection, 'onreconnecting');
  await reconnecting;
  assert.ok(Date.now() / 1000 >= soon - 1, 'not before the login ends');
  await connection.stop();
});

test('a client above its rate limit is closed with the reason', async () => {
  const { connection } = await join({ retry: false });
  const closed = happens(connection, 'onclose');
  await connection.send('anything', 'x'.repeat(1024 * 1024 + 1));
  assert.match(String(await closed), /1048576|too large|larger/i);
});

test('a wrong key, an expired token, a token of another hub and a missing token are rejected', async () => {
  const refused = async (accessToken, hub = HUB) => {
    const connection = client(clientUrl(undefined, hub), { accessToken, retry: false });
    await assert.rejects(connection.start(), /401/);
  };
  await refused(access({ key: 'not the key' }));
  await refused(access({ lifetimeSeconds: -60 }));
  await refused(access({ hub: 'other' }));
  await refused(undefined);
  const broadcast = await rest('POST', `/api/v1/hubs/${HUB}`, news('no'), { key: 'not the key' });
  assert.equal(broadcast.status, 401);
  assert.ok((await broadcast.text()).length > 0, 'the answer says why');
});

test('an invalid hub name, an invalid message and an oversized body are rejected', async () => {
  const status = async (path, body) => (await rest('POST', path, body)).status;
  assert.equal(await status('/api/v1/hubs/1bad', news('x')), 400);
  assert.equal(await status(`/api/v1/hubs/${HUB}`, { nothing: true }), 400);
  assert.equal(await status(`/api/v1/hubs/${HUB}`, news('x'.repeat(1024 * 1024 + 1))), 413);
});

test('clients reconnect after kill -9 and a restart', async () => {
  const { connection, messages } = await join({ user: 'ada' });
  const back = happens(connection, 'onreconnected');
  await chappe.kill();
  await chappe.run();
  await back;
  await accepted('POST', `/api/v1/hubs/${HUB}/users/ada`, news('after the crash'));
  await messages.find((text) => text === 'after the crash');
  await connection.stop();
});

test('clients reconnect when the server drains', async () => {
  const { connection, messages } = await join();
  const told = happens(connection, 'onreconnecting');
  const back = happens(connection, 'onreconnected');
  assert.equal(await chappe.drain(), 0);
  await told;
  await chappe.run();
  await back;
  await accepted('POST', `/api/v1/hubs/${HUB}`, news('after the drain'));
  await messages.find((text) => text === 'after the drain');
  await connection.stop();
});
