// Clients that read more slowly than their hub sends, in Default mode with the JavaScript client.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import * as signalR from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';

import { Chappe } from './harness.mjs';
import { meetClient } from './realtime/client-of-app-server.mjs';
import { invocation } from './realtime/framing.mjs';
import { clients } from './realtime/javascript.mjs';
import { COMBINATIONS } from './realtime/table.mjs';

const connect = clients({ signalR, MessagePackHubProtocol });
const PAUSE = 1;
/** Longer than the SDK waits for the end of a pause. */
const HELD_MS = 800;

let chappe;

before(async () => {
  chappe = await Chappe.start({ settings: ['realtime.mode=default'] });
});

after(() => chappe?.stop());

/** An app server and a client of it. */
const meet = (context, options) => meetClient(context, { url: chappe.urls.realtime, connect, ...options });

/** Service events about a client; the event that a server sends faster than the service accepts is about the server. */
function eventsAbout(server, { id }) {
  return server.events.all.filter((event) => event.id === id);
}

function* integers(count) {
  for (let number = 0; number < count; number += 1) yield number;
}

/** Sends an invocation to a connection by its id, as the SDK does for `Clients.Client`: it bypasses the pipe that a pause stops. */
function sendTo(server, { id, protocol }, ...args) {
  server.send([7, [id], { [protocol]: invocation(protocol, 'news', args) }, {}]);
}

// The JavaScript client reads some 4,000 events per second: over Server-Sent Events, its own processing takes a minute.
for (const { transport, protocol } of COMBINATIONS.filter((one) => one.transport !== 'ServerSentEvents')) {
  test(`${transport}, ${protocol}: a stream of 200,000 integers reaches a client whose network stops for a while`, async (context) => {
    const count = 200_000;
    const { server, proxy, client, at } = await meet(context, { methods: { integers }, transport, protocol });
    const streamed = client.stream('integers', [count]);
    await server.received.find(({ message }) => message.type === 4, 'the call');
    proxy.hold();
    // With MessagePack, the buffers of the network are large enough for everything.
    if (protocol === 'json') await server.flows.find(({ id, operation }) => id === at.id && operation === PAUSE, 'a pause');
    await sleep(HELD_MS);
    proxy.release();
    const { items, error } = await streamed;
    assert.equal(error, undefined);
    assert.equal(items.length, count);
    assert.ok(items.every((item, index) => item === index), 'in order');
    assert.deepEqual([client.life.all, eventsAbout(server, at)], [[], []]);
  });
}

for (const { transport, protocol } of COMBINATIONS) {
  test(`${transport}, ${protocol}: 20 messages of 500 kB and one of 6 MB reach a client whose network stops for a while`, async (context) => {
    const { server, proxy, client, at } = await meet(context, { methods: {}, transport, protocol });
    proxy.hold();
    for (let number = 0; number < 20; number += 1) sendTo(server, at, number, 'x'.repeat(500_000));
    sendTo(server, at, 20, 'y'.repeat(6_000_000));
    server.send([3, 'echo', 'behind']);
    await server.pings.find(([, value]) => value === 'behind', 'the answer to a ping');
    proxy.release();
    await client.messages.find((number) => number === 20, 'the last message');
    assert.deepEqual(client.messages.all.map(([number, text]) => [number, text.length]),
      [...Array(20).keys()].map((number) => [number, 500_000]).concat([[20, 6_000_000]]));
    assert.deepEqual([client.life.all, eventsAbout(server, at)], [[], []]);
  });
}

test('the end of a stream written during a pause arrives without further writes', async (context) => {
  let isPaused = () => false;
  const methods = {
    async* fill() {
      for (let count = 0; !isPaused(); count += 1) {
        yield 'x'.repeat(10_000);
        // Otherwise nothing would ever be read.
        if (count % 10 === 0) await sleep(0);
      }
      yield* ['a', 'b', 'c'];
    },
  };
  const { server, proxy, client, at } = await meet(context, { methods, transport: 'WebSockets', protocol: 'json' });
  isPaused = () => server.flows.all.some(({ id, operation }) => id === at.id && operation === PAUSE);
  proxy.hold();
  const streamed = client.stream('fill', []);
  await server.flows.find(({ id }) => id === at.id, 'a pause');
  await sleep(HELD_MS);
  proxy.release();
  const { items, error } = await streamed;
  assert.deepEqual([items.slice(-3), error], [['a', 'b', 'c'], undefined]);
});
