// Embedded or remote, depending on the setting's value: an app whose settings name another process reaches its hub and its documents over
// the network, with the same functions and the same result.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { COSMOS_KEY, Chappe, EXAMPLE, Messages, SIGNALR_KEY, client, eventually, getJson } from './harness.mjs';

let services;
let app;

before(async () => {
  // One process with only the services, one with only the functions; connection strings connect them.
  services = await Chappe.start();
  const { port } = new URL(services.urls.realtime);
  app = await Chappe.start({
    app: EXAMPLE,
    env: {
      AzureSignalRConnectionString: `Endpoint=http://localhost;Port=${port};AccessKey=${SIGNALR_KEY};Version=1.0;`,
      CosmosDBConnection: `AccountEndpoint=${services.urls.documents}/;AccountKey=${COSMOS_KEY};`,
    },
  });
  await eventually(async () => ((await getJson(`${app.urls.gateway}/api/cards`)).length >= 3 ? true : undefined), 'the board');
});
after(async () => {
  await app?.stop();
  await services?.stop();
});

test('an edit is written to the other process, and its hub delivers the update', async () => {
  const connection = client(`${app.urls.gateway}/api`);
  const messages = new Messages(connection, 'cardChanged');
  await connection.start();
  const response = await fetch(`${app.urls.gateway}/api/cards/remote`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ text: 'far away', column: 'done', colour: 'sky' }),
  });
  assert.equal(response.status, 200, await response.text());
  const [card, trace] = await messages.find(({ id }) => id === 'remote', 'the edit');
  assert.equal(card.text, 'far away');
  assert.match(trace.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  assert.equal((await services.info()).connections, 1);
  assert.equal((await app.info()).connections, 0);
  await connection.stop();
});
