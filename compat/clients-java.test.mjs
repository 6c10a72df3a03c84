// `com.microsoft.signalr`, the Java client: WebSockets and long polling, JSON. It has no Server-Sent Events, and its MessagePack package is
// not available from Maven Central.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Agent } from './realtime/agent.mjs';
import { play, scenarios } from './realtime/scenarios.mjs';
import { Stage } from './realtime/stage.mjs';

const LIBRARIES = fileURLToPath(new URL('../target/java/*', import.meta.url));
const PROGRAM = fileURLToPath(new URL('./realtime/java/Client.java', import.meta.url));
const skip = spawnSync('java', ['-version']).status === 0 ? false : 'not run: there is no Java';

let stage;
let agent;

before(async () => {
  if (skip) return;
  // The virtual machine compiles the program itself; a second compiler would only delay it.
  agent = new Agent('java', ['-XX:TieredStopAtLevel=1', '-Xshare:auto', '-cp', LIBRARIES, PROGRAM]);
  stage = await Stage.start();
});

after(async () => {
  agent?.stop();
  await stage?.stop();
});

const can = { cancel: true, failUploads: true, uploadAnswers: true };

for (const transport of ['WebSockets', 'LongPolling']) {
  // Over long polling this client sends without waiting for its earlier requests, so its messages may overtake each other.
  const ordered = transport === 'WebSockets';
  const via = ordered ? 'service' : 'app';
  // It also passes the result of a poll to another thread and polls again at once: the 204 that follows may end it before it has read the
  // Close, and then it has no reason.
  const closeReason = ordered || 'unless overtaken';
  const plays = (scenario) => () => play(scenarios[scenario], {
    connect: agent.connect, call: stage.call, hub: stage.hub(scenario), transport, protocol: 'json', via, can: { ...can, ordered, closeReason },
  });

  test(`${transport}: invocations return a value, nothing or an error`, { skip }, plays('calls'));
  test(`${transport}: messages sent without awaiting a result arrive`, { skip }, plays('sends'));
  test(`${transport}: server-to-client streams end, fail and can be cancelled`, { skip }, plays('streams'));
  if (ordered) test(`${transport}: client-to-server streams are received, with arguments and errors`, { skip }, plays('uploads'));
  test(`${transport}: client results reach the server`, { skip }, plays('results'));
  test(`${transport}: messages to all clients, a user, a group and a connection arrive`, { skip }, plays('receivers'));
  test(`${transport}: large and numerous messages arrive in order`, { skip }, plays('bursts'));
  test(`${transport}: the app is told of connected and disconnected clients`, { skip }, plays('lives'));
  test(`${transport}: a closed connection has a reason`, { skip }, plays('ends'));
}

test('after kill -9 it reports a closed connection, and starts again', { skip }, async () => {
  const hub = stage.hub('killed');
  const start = () => agent.connect({ ...stage.on_address({ hub, user: 'ada' }), transport: 'WebSockets', protocol: 'json' });
  const client = await start();
  await stage.chappe.kill();
  await client.closed();
  await stage.chappe.run();
  const again = await start();
  assert.equal(await again.invoke('add', 1, 2), 3);
  await again.stop();
});

test('only events that the upstream rules allow reached the app', { skip }, () => assert.deepEqual(stage.upstream.faults, []));
