// What a function can get from its bindings, verified with real clients: groups, users, claims, and the request itself.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { Chappe, EXAMPLE, Messages, SIGNALR_KEY, client, eventually, token } from './harness.mjs';

const SOURCE = `
const { app, input, output } = require('@azure/functions');
const hub = input.generic({
  type: 'signalRConnectionInfo', name: 'hub', hubName: 'acts',
  userId: '{headers.x-user}', idToken: '{headers.x-token}', claimTypeList: ['role', 'aud'],
});
const acts = output.generic({ type: 'signalR', name: 'acts', hubName: 'acts' });
app.http('negotiate', {
  methods: ['POST'], authLevel: 'anonymous', extraInputs: [hub],
  handler: (request, context) => ({ jsonBody: context.extraInputs.get(hub) }),
});
app.http('act', {
  methods: ['POST'], authLevel: 'anonymous', extraOutputs: [acts],
  handler: async (request, context) => {
    context.extraOutputs.set(acts, await request.json());
    return { status: 202 };
  },
});
app.http('length', { authLevel: 'anonymous', handler: async (request) => ({ body: String((await request.text()).length) }) });
`;

// The short form of a connection string, which no other test uses.
const SETTINGS = {
  IsEncrypted: false,
  Values: { FUNCTIONS_WORKER_RUNTIME: 'node' },
  ConnectionStrings: { AzureSignalRConnectionString: `Endpoint=http://localhost;Port=8888;AccessKey=${SIGNALR_KEY};Version=1.0;` },
  Host: { CORS: 'https://page.test', CORSCredentials: true },
};

let folder;
let chappe;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'chappe-app-'));
  await mkdir(path.join(folder, 'src'));
  await writeFile(path.join(folder, 'host.json'), '{ "version": "2.0" }');
  await writeFile(path.join(folder, 'local.settings.json'), JSON.stringify(SETTINGS));
  await writeFile(path.join(folder, 'package.json'), '{ "name": "bindings", "main": "src/*.js" }');
  await writeFile(path.join(folder, 'src/functions.js'), SOURCE);
  await symlink(path.join(EXAMPLE, 'node_modules'), path.join(folder, 'node_modules'));
  chappe = await Chappe.start({ app: folder });
  await eventually(async () => ((await post('length', 'x')).status === 200 ? true : undefined), 'an answer');
});
after(async () => {
  await chappe?.stop();
  await rm(folder, { recursive: true, force: true });
});

function post(name, body, headers = {}, more = {}) {
  return fetch(`${chappe.urls.functions}/api/${name}`, { method: 'POST', body, headers, ...more });
}

async function access(user) {
  const idToken = token({ audience: 'the app', key: 'of somebody else', claims: { role: ['reader', 'writer'], secret: 'kept' } });
  const answer = await post('negotiate', '', { 'x-user': user, 'x-token': idToken });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
}

async function join(user) {
  const { url, accessToken } = await access(user);
  const connection = client(url, { accessToken });
  const messages = new Messages(connection, 'news');
  await connection.start();
  return { connection, messages, id: connection.connectionId };
}

async function act(...items) {
  const answer = await post('act', JSON.stringify(items), { 'content-type': 'application/json' });
  assert.equal(answer.status, 202);
}

test('a signalR output changes group membership and reaches its recipients', async () => {
  const [ada, ben] = [await join('ada'), await join('ben')];
  const news = (text, to) => ({ target: 'news', arguments: [text], ...to });
  await act(
    { action: 'add', groupName: 'g', connectionId: ada.id },
    { action: 'add', groupName: 'h', userId: 'ben' },
    news('in g', { groupName: 'g' }),
    news('in h', { groupName: 'h' }),
    { action: 'remove', groupName: 'g', connectionId: ada.id },
    { action: 'removeAll', userId: 'ben' },
    news('in no group', { groupName: 'g' }),
    news('in no group', { groupName: 'h' }),
    news('to ada', { userId: 'ada' }),
    news('to ben', { connectionId: ben.id, userId: 'ada' }),
    news('to all'),
  );
  for (const { messages } of [ada, ben]) await messages.find((text) => text === 'to all');
  assert.deepEqual(ada.messages.all.map(([text]) => text), ['in g', 'to ada', 'to all']);
  assert.deepEqual(ben.messages.all.map(([text]) => text), ['in h', 'to ben', 'to all']);
  await Promise.all([ada.connection.stop(), ben.connection.stop()]);
});

test('signalRConnectionInfo copies only the listed claims of idToken', async () => {
  const { accessToken } = await access('ada');
  const claims = JSON.parse(Buffer.from(accessToken.split('.')[1], 'base64url'));
  assert.deepEqual(claims.role, ['reader', 'writer']);
  assert.equal(claims['asrs.u.aud'], 'the app');
  assert.match(claims.aud, /\/client\/\?hub=acts$/);
  assert.equal(claims.secret, undefined);
});

test('a body without Content-Length reaches the function', async () => {
  const body = new ReadableStream({
    start(controller) {
      for (const part of ['one ', 'two ', 'three']) controller.enqueue(new TextEncoder().encode(part));
      controller.close();
    },
  });
  const answer = await post('length', body, {}, { duplex: 'half' });
  assert.equal(await answer.text(), '13');
});

test('CORS follows local.settings.json', async () => {
  const answer = await post('length', 'x', { origin: 'https://page.test' });
  assert.equal(answer.headers.get('access-control-allow-origin'), 'https://page.test');
  assert.equal(answer.headers.get('access-control-allow-credentials'), 'true');
  const other = await post('length', 'x', { origin: 'https://other.test' });
  assert.equal(other.headers.get('access-control-allow-origin'), null);
});
