// `signalrcore`, another Python client, unmodified: it sends version 0 in its handshake, and over requests the handshake may come before
// its first GET. WebSockets, Server-Sent Events and long polling. Its own class for long polling of bytes does not start
// (`super(LongPollingTextClient, self)` in another class), and events are text, so that MessagePack runs over WebSockets only.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Agent } from './realtime/agent.mjs';
import { Stage } from './realtime/stage.mjs';

const PACKAGES = fileURLToPath(new URL('../target/python', import.meta.url));
const PROGRAM = fileURLToPath(new URL('./realtime/python/signalrcore_client.py', import.meta.url));

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

const WAYS = [['WebSockets', 'json'], ['WebSockets', 'messagepack'], ['ServerSentEvents', 'json'], ['LongPolling', 'json']];

for (const [transport, protocol] of WAYS) {
  test(`${transport}, ${protocol}: it connects, invokes with result and error, and receives messages to all and to its user`, async () => {
    const hub = stage.hub('core');
    const client = await agent.connect({ ...stage.on_address({ hub, user: 'ada' }), transport, protocol });
    assert.equal(await client.invoke('add', 2, 3), 5);
    assert.deepEqual(await client.invoke('echo', { deep: ['ä😀', null, -1.5] }), { deep: ['ä😀', null, -1.5] });
    await assert.rejects(client.invoke('fail', 'no, because'), /no, because/);
    for (const path of [`/api/v1/hubs/${hub}`, `/api/v1/hubs/${hub}/users/ada`]) {
      const { status } = await stage.on_rest('POST', path, { target: 'news', arguments: ['said', path] });
      assert.equal(status, 202);
      await client.messages.find((_, text) => text === path);
    }
    await client.stop();
  });
}
