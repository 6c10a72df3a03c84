// Two realtime services in one process, with the real SignalR client: each has its own port, keys, groups, messages and history, and one
// gateway route leads to the second one.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { Chappe, Messages, client, getJson, token } from './harness.mjs';

const HUB = 'board';
const CHAT_KEY = 'a key that only the second service accepts';
let chappe;

before(async () => {
  chappe = await Chappe.start({
    settings: [
      'realtime.chat.listen=localhost:0',
      `realtime.chat.primary_key=${CHAT_KEY}`,
      'gateway.mobile.listen=localhost:0',
      'gateway.mobile.routes=[{path="/client",service="realtime.chat"}]',
    ],
  });
});
after(() => chappe?.stop());

/** A started client at a base address, with its messages. */
async function join(base, key) {
  const url = `${base}/client/?hub=${HUB}`;
  const accessToken = token({ audience: url, key, claims: { nameid: 'ada' } });
  const connection = client(url, { accessToken });
  const messages = new Messages(connection, 'news');
  await connection.start();
  return { connection, messages };
}

async function send(base, key, text) {
  const url = `${base}/api/v1/hubs/${HUB}`;
  const headers = { authorization: `Bearer ${token({ audience: url, key })}`, 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ target: 'news', arguments: [text] }) });
  return response.status;
}

test('clients and messages of two services of one process are separate', async () => {
  const { realtime, 'realtime.chat': chat, gateway, 'gateway.mobile': mobile } = chappe.urls;
  const members = await Promise.all([join(realtime), join(gateway), join(chat, CHAT_KEY), join(mobile, CHAT_KEY)]);
  assert.equal(await send(realtime, undefined, 'first'), 202);
  assert.equal(await send(chat, CHAT_KEY, 'second'), 202);
  for (const [index, { messages }] of members.entries()) {
    const [text] = await messages.find(() => true, 'a message');
    assert.equal(text, index < 2 ? 'first' : 'second', `client ${index}`);
  }
  const info = await chappe.info();
  assert.deepEqual([info.connections, info.services['realtime.chat'].connections], [2, 2]);
  const metrics = await (await fetch(`${gateway}/metrics`)).text();
  assert.match(metrics, /chappe_realtime_connections\{service="realtime.chat",instance="chat",hub="board"\} 2/);
  await Promise.all(members.map(({ connection }) => connection.stop()));
});

test('the key of one service is invalid at the other', async () => {
  assert.equal(await send(chappe.urls.realtime, CHAT_KEY, 'x'), 401);
  assert.equal(await send(chappe.urls['realtime.chat'], CHAT_KEY, 'x'), 202);
});

test('the admin API has the operations of each service', async () => {
  for (const service of ['realtime', 'realtime.chat']) {
    const { letters } = await getJson(`${chappe.urls.gateway}/chappe/api/${service}/dead-letters`);
    assert.deepEqual(letters, []);
  }
});
