// Functions with signalRTrigger and the real client, in both ways: the realtime service of the same process calls the functions directly,
// and that of another process over HTTP, in the upstream protocol.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { Chappe, EXAMPLE, Messages, SIGNALR_KEY, client, eventually, freePort, token } from './harness.mjs';

const SOURCE = `
const { app, output, trigger } = require('@azure/functions');
const on = (category, event, parameterNames) =>
  trigger.generic({ type: 'signalRTrigger', name: 'invocation', hubName: 'Chat', category, event, parameterNames });
const out = output.generic({ type: 'signalR', name: 'out', hubName: 'chat' });
const tell = (invocation, context) =>
  context.log('told ' + JSON.stringify([invocation.Event, invocation.ConnectionId, invocation.UserId, invocation.Error]));
app.generic('connected', { trigger: on('connections', 'connected'), handler: tell });
app.generic('disconnected', { trigger: on('connections', 'disconnected'), handler: tell });
app.generic('add', {
  trigger: on('messages', 'add', ['first', 'second']),
  handler: (invocation, context) => context.triggerMetadata.first + context.triggerMetadata.second,
});
app.generic('whole', { trigger: on('messages', 'whole'), handler: (invocation) => invocation });
app.generic('nothing', { trigger: on('messages', 'nothing'), handler: () => undefined });
app.generic('fail', { trigger: on('messages', 'fail'), handler: () => { throw new Error('no such card'); } });
app.generic('join', {
  trigger: on('messages', 'join', ['group']), extraOutputs: [out],
  handler: (invocation, context) => {
    context.extraOutputs.set(out, { action: 'add', groupName: context.triggerMetadata.group, connectionId: invocation.ConnectionId });
  },
});
app.generic('say', {
  trigger: on('messages', 'say', ['group', 'text']), extraOutputs: [out],
  handler: (invocation, context) => {
    const { group, text } = context.triggerMetadata;
    context.extraOutputs.set(out, { target: 'said', groupName: group, arguments: [text] });
  },
});
app.generic('count', { trigger: on('messages', 'count'), handler: () => [1, 2] });
`;

async function appFolder(connection) {
  const folder = await mkdtemp(path.join(tmpdir(), 'chappe-app-'));
  await mkdir(path.join(folder, 'src'));
  await writeFile(path.join(folder, 'host.json'), '{ "version": "2.0" }');
  const values = { FUNCTIONS_WORKER_RUNTIME: 'node', AzureSignalRConnectionString: connection };
  await writeFile(path.join(folder, 'local.settings.json'), JSON.stringify({ IsEncrypted: false, Values: values }));
  await writeFile(path.join(folder, 'package.json'), '{ "name": "chat", "main": "src/*.js" }');
  await writeFile(path.join(folder, 'src/functions.js'), SOURCE);
  await symlink(path.join(EXAMPLE, 'node_modules'), path.join(folder, 'node_modules'));
  return folder;
}

const connectionString = (endpoint) => `Endpoint=${endpoint};AccessKey=${SIGNALR_KEY};Version=1.0;`;

const WAYS = {
  'in process': async () => {
    // The emulator's address names the service of this process.
    const folder = await appFolder(connectionString('http://localhost:8888'));
    const functions = await Chappe.start({ app: folder });
    return { folder, functions, service: functions };
  },
  'over the upstream protocol': async () => {
    const port = await freePort();
    const url = `http://localhost:${port}/runtime/webhooks/signalr`;
    const service = await Chappe.start({ settings: [`realtime.upstream.templates=[{url_template="${url}"}]`] });
    const folder = await appFolder(connectionString(service.urls.realtime));
    const functions = await Chappe.start({ app: folder, listen: { functions: `localhost:${port}` } });
    return { folder, functions, service };
  },
};

for (const [way, start] of Object.entries(WAYS)) {
  describe(way, () => {
    let running;

    before(async () => {
      running = await start();
      await eventually(async () => ((await fetch(`${running.functions.urls.functions}/admin/host/status`)).ok ? true : undefined), 'the host');
      await eventually(async () => (await (await fetch(`${running.functions.urls.functions}/admin/host/status`)).json()).state === 'Running' || undefined, 'the app');
    });
    after(async () => {
      await running?.functions.stop();
      if (running && running.service !== running.functions) await running.service.stop();
      if (running) await rm(running.folder, { recursive: true, force: true });
    });

    async function connect({ user = 'ada', protocol, query = '' } = {}) {
      const audience = `${running.service.urls.realtime}/client/?hub=chat`;
      const accessToken = token({ audience, claims: { nameid: user, role: ['a', 'b'] } });
      const connection = client(audience + query, { accessToken, protocol, retry: false });
      await connection.start();
      return connection;
    }

    /** What the functions for connection events have logged about one connection. */
    async function told(id) {
      const lines = await running.functions.functionLog();
      const events = lines.map((line) => line.text.match(/^told (.*)$/)?.[1]).filter(Boolean).map(JSON.parse);
      return events.filter(([, connection]) => connection === id);
    }

    for (const protocol of ['json', 'messagepack']) {
      test(`${protocol}: an invocation gets the result of its function`, async () => {
        const connection = await connect({ protocol });
        assert.equal(await connection.invoke('add', 1, 2.5), 3.5);
        assert.equal(await connection.invoke('ADD', 'a', 'ü'), 'aü');
        assert.equal(await connection.invoke('nothing'), null);
        await connection.stop();
      });

      test(`${protocol}: an exception of the function is the error of the invocation`, async () => {
        const connection = await connect({ protocol });
        await assert.rejects(connection.invoke('fail'), /no such card$/);
        await assert.rejects(connection.invoke('add', 1), /The function accept 2 arguments but message provided 1\.$/);
        await assert.rejects(connection.invoke('absent'), /./);
        assert.equal(await connection.invoke('add', 1, 1), 2, 'the connection stays');
        await connection.stop();
      });
    }

    test('the function gets the context of the invocation', async () => {
      const connection = await connect({ query: '&color=red' });
      const context = await connection.invoke('whole', { a: [1] }, 'x');
      assert.deepEqual(Object.keys(context), ['Arguments', 'Error', 'Category', 'Event', 'Hub', 'ConnectionId', 'UserId', 'Headers', 'Query', 'Claims']);
      assert.deepEqual(context.Arguments, [{ a: [1] }, 'x']);
      assert.deepEqual([context.Error, context.Category, context.Event, context.Hub], [null, 'messages', 'whole', 'chat']);
      assert.deepEqual([context.ConnectionId, context.UserId], [connection.connectionId, 'ada']);
      assert.equal(context.Query.color, 'red');
      assert.equal(context.Claims.role, 'a');
      assert.equal(context.Headers['X-ASRS-Connection-Id'], connection.connectionId);
      await connection.stop();
    });

    test('a stream is refused, as by the Azure Functions extension', async () => {
      const connection = await connect();
      const streamed = new Promise((complete, error) => {
        connection.stream('count').subscribe({ next: () => {}, complete, error });
      });
      await assert.rejects(streamed, /status code 500/);
      assert.equal(await connection.invoke('add', 1, 1), 2);
      await connection.stop();
    });

    test('functions are told of connected and disconnected clients', async () => {
      const connection = await connect({ user: 'grace' });
      const id = connection.connectionId;
      assert.equal(await connection.invoke('add', 1, 1), 2);
      assert.deepEqual(await told(id), [['connected', id, 'grace', null]], 'before its first invocation');
      await connection.stop();
      const both = await eventually(async () => ((await told(id)).length > 1 ? told(id) : undefined), 'disconnected');
      assert.deepEqual(both.map(([event]) => event), ['connected', 'disconnected']);
    });

    test('group actions and messages of outputs reach the clients in the order of the invocations', async () => {
      const [speaker, listener] = [await connect(), await connect({ protocol: 'messagepack' })];
      const messages = new Messages(listener, 'said');
      await listener.invoke('join', 'g');
      const numbers = Array.from({ length: 50 }, (_, number) => number);
      for (const number of numbers) await speaker.send('say', 'g', `line ${number}`);
      await eventually(() => (messages.all.length >= numbers.length ? true : undefined), 'all lines');
      assert.deepEqual(messages.all.map(([text]) => text), numbers.map((number) => `line ${number}`));
      await Promise.all([speaker.stop(), listener.stop()]);
    });

    test('concurrent clients get their own results', async () => {
      const clients = await Promise.all(Array.from({ length: 30 }, (_, index) => connect({ user: `u${index}` })));
      const sums = clients.flatMap((connection, index) => Array.from({ length: 10 }, async (_, round) => {
        assert.equal(await connection.invoke('add', index * 1000, round), index * 1000 + round);
      }));
      await Promise.all(sums);
      await Promise.all(clients.map((connection) => connection.stop()));
    });
  });
}

test('the webhook rejects requests without a valid signature', async () => {
  const folder = await appFolder(connectionString('http://localhost:8888'));
  const chappe = await Chappe.start({ app: folder });
  try {
    const send = (headers, body = '{"type":1,"invocationId":"1","target":"add","arguments":[1,2]}') =>
      fetch(`${chappe.urls.functions}/runtime/webhooks/signalr`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body });
    const event = { 'x-asrs-hub': 'chat', 'x-asrs-category': 'messages', 'x-asrs-event': 'add', 'x-asrs-connection-id': 'c' };
    const status = async (headers) => (await send(headers)).status;
    assert.equal(await status(event), 401);
    assert.equal(await status({ ...event, 'x-asrs-signature': 'sha256=00' }), 401);
    assert.equal(await status({ ...event, 'x-asrs-event': 'absent' }), 404);
    assert.equal(await status({ ...event, 'x-asrs-hub': '' }), 400);
    assert.equal(await status({ ...event, 'content-type': 'text/plain' }), 415);
  } finally {
    await chappe.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
