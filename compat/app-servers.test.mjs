// Default mode with the JavaScript client: features that the SDK of an app server leaves to the service.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import * as signalR from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';

import { Chappe } from './harness.mjs';
import { meetClient } from './realtime/client-of-app-server.mjs';
import { clients } from './realtime/javascript.mjs';
import { COMBINATIONS } from './realtime/table.mjs';

const connect = clients({ signalR, MessagePackHubProtocol });
const CUTS = 10;
const NUMBERS = 500;

let chappe;

before(async () => {
  chappe = await Chappe.start({ settings: ['realtime.mode=default'] });
});

after(() => chappe?.stop());

/** An app server and a client of it. */
const meet = (context, options) => meetClient(context, { url: chappe.urls.realtime, connect, ...options });

const numbers = [...Array(NUMBERS).keys()];

for (const protocol of ['json', 'messagepack']) {
  for (const [ends, cut] of [['both-ends', (proxy) => proxy.cut()], ['one-end', (proxy) => proxy.cutClients()]]) {
    test(`${protocol}: a stateful client of an app server loses and duplicates nothing while connections break repeatedly at ${ends}`,
      (context) => cutAgainAndAgain(context, protocol, cut));
  }

  test(`${protocol}: a long message of a stateful client whose connection breaks in the middle arrives once and complete`, async (context) => {
    const runs = [];
    const methods = { measure: (_, text) => runs.push(text.length) && text.length };
    const { server, proxy, client } = await meet(context, { methods, transport: 'WebSockets', protocol, stateful: true, retry: true });
    const text = 'x'.repeat(4_000_000);
    const measured = client.invoke('measure', text);
    await server.pieces.until(() => server.pieces.all.length > 3, 'the first pieces');
    proxy.cut();
    assert.equal(await measured, text.length);
    assert.deepEqual([runs, client.life.all], [[text.length], []]);
  });

  test(`${protocol}: a result above 16 MiB fails its call, and the server connection stays open`, async (context) => {
    const methods = { much: (_, length) => 'y'.repeat(length) };
    const { server, client, at } = await meet(context, { methods, transport: 'WebSockets', protocol });
    const refused = await client.invoke('much', 17_000_000).then(() => undefined, (error) => error.message);
    assert.match(refused, /of type 6 has 170000\d\d bytes, more than the 16777216 allowed \(servers.message_bytes_max\)/);
    const { object, id, kind } = await server.events.find(({ text }) => text === refused, 'the event');
    assert.deepEqual([object, id, kind], [1, at.id, 1]);
    assert.equal(await client.invoke('much', 3), 'yyy');
    assert.deepEqual(client.life.all, []);
  });
}

/** Ten disconnects while 500 numbers are sent each way, with a call before each of them. */
async function cutAgainAndAgain(context, protocol, cutLine) {
  const runs = new Map();
  const methods = {
    note: () => {},
    once: (_, number) => {
      runs.set(number, (runs.get(number) ?? 0) + 1);
      return number * 2;
    },
  };
  const { server, proxy, client, at } = await meet(context, { methods, transport: 'WebSockets', protocol, stateful: true, retry: true });
  const { id } = client;
  const [batch, sends, calls] = [NUMBERS / CUTS / 2, [], []];
  let number = 0;
  const both = () => {
    for (const last = number + batch; number < last; number += 1) {
      server.call(at, 'news', 'number', number);
      sends.push(client.send('note', number));
    }
  };
  for (let cut = 0; cut < CUTS; cut += 1) {
    both();
    calls.push(client.invoke('once', cut));
    // By now some messages are on their way, and none is acknowledged.
    await new Promise(setImmediate);
    cutLine(proxy);
    both();
    // The next disconnect affects the new socket.
    const last = number - 1;
    await client.messages.find((_, value) => value === last, `number ${last} at the client, cut ${cut}`);
    await server.received.find(({ message }) => message.target === 'note' && message.arguments[0] === last, `number ${last} at the server`);
  }
  await Promise.all(sends);
  assert.deepEqual(await Promise.all(calls), [...Array(CUTS).keys()].map((one) => one * 2));
  assert.deepEqual(client.messages.all.map(([, value]) => value), numbers, 'what the client heard');
  const notes = server.received.all.filter(({ message }) => message.target === 'note');
  assert.deepEqual(notes.map(({ message }) => message.arguments[0]), numbers, 'what the server heard');
  assert.deepEqual([...runs], [...Array(CUTS).keys()].map((one) => [one, 1]), 'each call ran once');
  assert.deepEqual(server.received.all.filter(({ message }) => message.type > 7), [], 'Ack and Sequence stay with the service');
  assert.ok(proxy.connections > CUTS, `${proxy.connections} connections were made`);
  assert.deepEqual([client.life.all, client.id, server.clients.size], [[], id, 1], 'nobody noticed');
}

for (const { transport, protocol } of COMBINATIONS) {
  test(`${transport}, ${protocol}: a message above 1 MiB reaches an app server in parts`, async (context) => {
    const methods = { measure: (_, text) => text.length };
    const { server, client } = await meet(context, { methods, transport, protocol });
    const text = 'é'.repeat(2_000_000);
    assert.equal(await client.invoke('measure', text), text.length);
    assert.ok(server.pieces.all.length > 10, `${server.pieces.all.length} pieces`);
    assert.ok(server.pieces.all.every(({ bytes }) => bytes <= 64 * 1024));
    assert.equal(await client.invoke('measure', 'short'), 5);
  });
}

for (const transport of new Set(COMBINATIONS.map((one) => one.transport))) {
  test(`${transport}: an app server receives claims with the types of .NET, the client's headers, and no event at its end`, async (context) => {
    const claims = { unique_name: 'Ada', role: ['admin', 'author'], 'asrs.s.uid': 'ada' };
    const headers = { 'X-Tenant': 'blue', Cookie: 'a=1; b=2', 'X-MS-CLIENT-PRINCIPAL-ID': 'root', 'Asrs-Migrate-From': 'nobody' };
    const { server, client, at } = await meet(context, { methods: {}, claims, headers, transport });
    assert.equal(at.claims['http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name'], 'Ada');
    assert.equal(at.claims['http://schemas.xmlsoap.org/ws/2005/05/identity/claims/nameidentifier'], 'ada');
    // Of several entries with one name the last one counts, as in this reader of MessagePack.
    assert.equal(at.claims['http://schemas.microsoft.com/ws/2008/06/identity/claims/role'], 'author');
    assert.deepEqual([at.claims.role, at.claims.unique_name, at.claims['asrs.s.uid']], ['author', 'Ada', 'ada']);
    assert.deepEqual([at.headers['x-tenant'], at.headers.cookie], [['blue'], ['a=1; b=2']]);
    assert.match(at.headers['user-agent'][0], /SignalR/);
    for (const name of ['authorization', 'connection', 'upgrade', 'x-ms-client-principal-id', 'asrs-migrate-from']) {
      assert.equal(at.headers[name], undefined, name);
    }
    await client.stop();
    await server.ends.find((id) => id === at.id, 'the end of the client');
    server.send([3, 'echo', 'behind the end']);
    await server.pings.find(([, value]) => value === 'behind the end', 'the answer to a ping');
    assert.deepEqual(server.events.all, []);
  });
}
