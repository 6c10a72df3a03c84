// `pysignalr`, the Python client: WebSockets, with JSON and with MessagePack. It has no other transport.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Agent } from './realtime/agent.mjs';
import { play, scenarios } from './realtime/scenarios.mjs';
import { Stage } from './realtime/stage.mjs';

const PACKAGES = fileURLToPath(new URL('../target/python', import.meta.url));
const PROGRAM = fileURLToPath(new URL('./realtime/python/client.py', import.meta.url));

let stage;
let agent;

before(async () => {
  agent = new Agent('python3', [PROGRAM], { env: { ...process.env, PYTHONPATH: PACKAGES } });
  stage = await Stage.start();
});

after(async () => {
  agent?.stop();
  await stage?.stop();
});

// It cannot cancel a stream, and it does not ask for a result of what it uploads.
const can = { closeReason: true, ordered: true };

// With an app's negotiate function it connects directly to a WebSocket; without one it negotiates with the service, in version 0.
for (const [protocol, via] of [['json', 'service'], ['messagepack', 'app']]) {
  const plays = (scenario) => () => play(scenarios[scenario], {
    connect: agent.connect, call: stage.call, hub: stage.hub(scenario), transport: 'WebSockets', protocol, via, can,
  });

  test(`${protocol}: invocations return a value, nothing or an error`, plays('calls'));
  test(`${protocol}: messages sent without awaiting a result arrive in order`, plays('sends'));
  test(`${protocol}: server-to-client streams end and fail`, plays('streams'));
  test(`${protocol}: client-to-server streams are received`, plays('uploads'));
  test(`${protocol}: client results reach the server`, plays('results'));
  test(`${protocol}: messages to all clients, a user, a group and a connection arrive`, plays('receivers'));
  test(`${protocol}: large and numerous messages arrive in order`, plays('bursts'));
  test(`${protocol}: the app is told of connected and disconnected clients`, plays('lives'));
  test(`${protocol}: a closed connection has a reason`, plays('ends'));
}

test('it reconnects after kill -9 and a restart', async () => {
  const hub = stage.hub('killed');
  const client = await agent.connect({ ...stage.on_address({ via: 'app', hub, user: 'ada' }), transport: 'WebSockets', protocol: 'messagepack' });
  await stage.chappe.kill();
  await stage.chappe.run();
  await client.life.find(({ what }) => what === 'reconnected', 'the new connection');
  const { status } = await stage.on_rest('POST', `/api/v1/hubs/${hub}/users/ada`, { target: 'news', arguments: ['said', 'again'] });
  assert.equal(status, 202);
  await client.messages.find((_, text) => text === 'again');
  await client.stop();
});

test('only events that the upstream rules allow reached the app', () => assert.deepEqual(stage.upstream.faults, []));
