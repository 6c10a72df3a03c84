// Functions with several SignalR endpoints (`Azure__SignalR__Endpoints__*`): one in the same process and one in another process, with
// real clients on both.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { Chappe, EXAMPLE, Messages, SIGNALR_KEY, client, eventually } from './harness.mjs';

const SOURCE = `
const { app, input, output } = require('@azure/functions');
const on = (type) => input.generic({ type, name: type, hubName: 'board' });
const [info, negotiation, endpoints] = ['signalRConnectionInfo', 'signalRNegotiation', 'signalREndpoints'].map(on);
for (const [name, binding] of Object.entries({ info, negotiation, endpoints })) {
  app.http(name, {
    authLevel: 'anonymous', extraInputs: [binding], handler: (request, context) => ({ jsonBody: context.extraInputs.get(binding) }),
  });
}
const messages = output.generic({ type: 'signalR', name: 'messages', hubName: 'board' });
app.http('send', {
  methods: ['POST'], authLevel: 'anonymous', extraOutputs: [messages],
  handler: async (request, context) => { context.extraOutputs.set(messages, await request.json()); return { status: 202 }; },
});
app.generic('add', {
  trigger: { type: 'signalRTrigger', name: 'invocation', hubName: 'board', category: 'messages', event: 'add', parameterNames: ['a', 'b'] },
  handler: (invocation, context) => context.triggerMetadata.a + context.triggerMetadata.b,
});
`;

let folder;
let east;
let west;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'chappe-endpoints-'));
  west = await Chappe.start();
  const { port } = new URL(west.urls.realtime);
  const settings = {
    IsEncrypted: false,
    Values: {
      FUNCTIONS_WORKER_RUNTIME: 'node',
      Azure__SignalR__Endpoints__east__primary: `Endpoint=http://localhost;Port=8888;AccessKey=${SIGNALR_KEY};Version=1.0;`,
      Azure__SignalR__Endpoints__west__secondary: `Endpoint=http://localhost;Port=${port};AccessKey=${SIGNALR_KEY};Version=1.0;`,
    },
  };
  await mkdir(path.join(folder, 'src'));
  await writeFile(path.join(folder, 'host.json'), '{ "version": "2.0" }');
  await writeFile(path.join(folder, 'local.settings.json'), JSON.stringify(settings));
  await writeFile(path.join(folder, 'package.json'), '{ "name": "endpoints", "main": "src/*.js" }');
  await writeFile(path.join(folder, 'src/functions.js'), SOURCE);
  await symlink(path.join(EXAMPLE, 'node_modules'), path.join(folder, 'node_modules'));
  east = await Chappe.start({ app: folder });
});
after(async () => {
  await east?.stop();
  await west?.stop();
  await rm(folder, { recursive: true, force: true });
});

async function get(name) {
  const response = await fetch(`${east.urls.functions}/api/${name}`);
  assert.equal(response.status, 200, await response.clone().text());
  return response.json();
}

async function join({ url, accessToken }) {
  const connection = client(url, { accessToken });
  const messages = new Messages(connection, 'news');
  await connection.start();
  return { connection, messages };
}

async function send(...items) {
  const response = await fetch(`${east.urls.functions}/api/send`, { method: 'POST', body: JSON.stringify(items) });
  assert.equal(response.status, 202, await response.text());
}

test('clients of both endpoints get messages, and only one of them a message for its endpoint', async () => {
  const { endpoints } = await get('negotiation');
  assert.deepEqual(endpoints.map(({ name, endpointType, online }) => [name, endpointType, online]), [
    ['east', 'Primary', true], ['west', 'Secondary', true],
  ]);
  assert.deepEqual(await get('endpoints'), endpoints.map(({ connectionInfo, ...facts }) => facts));
  assert.equal(new URL((await get('info')).url).port, new URL(east.urls.realtime).port, 'clients are sent to the primary endpoint');
  const [here, there] = [await join(endpoints[0].connectionInfo), await join(endpoints[1].connectionInfo)];
  await send(
    { target: 'news', arguments: ['all'] },
    { target: 'news', arguments: ['west'], endpoints: [{ ...endpoints[1], connectionInfo: undefined }] },
    { target: 'news', arguments: ['end'] },
  );
  const received = ({ messages }, count) => eventually(() => (messages.all.length >= count ? messages.all : undefined), `${count} messages`);
  assert.deepEqual((await received(there, 3)).flat(), ['all', 'west', 'end']);
  assert.deepEqual((await received(here, 2)).flat(), ['all', 'end']);
  assert.equal(await here.connection.invoke('add', 1, 2), 3, 'the trigger gets invocations of the endpoint in this process');
  for (const { connection } of [here, there]) await connection.stop();
});
