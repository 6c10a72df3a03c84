// Functions with eventGridTrigger, the real publisher client and the handshakes of Event Grid.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { AzureKeyCredential, EventGridPublisherClient } from '@azure/eventgrid';

import { Chappe, EXAMPLE, eventually } from './harness.mjs';

const SOURCE = `
const { app, trigger } = require('@azure/functions');
app.eventGrid('single', {
  handler: (event, context) => {
    context.log('event ' + JSON.stringify([event.id, event.data, context.triggerMetadata.data]));
    if (event.data?.fail) throw new Error('bad card');
  },
});
app.generic('batch', {
  trigger: trigger.generic({ type: 'eventGridTrigger', name: 'events', cardinality: 'many' }),
  handler: (events, context) => context.log('events ' + JSON.stringify(events.map(({ id }) => id))),
});
`;

let folder;
let chappe;
let key;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'chappe-app-'));
  await mkdir(path.join(folder, 'src'));
  await writeFile(path.join(folder, 'host.json'), '{ "version": "2.0" }');
  await writeFile(path.join(folder, 'local.settings.json'), '{ "IsEncrypted": false, "Values": { "FUNCTIONS_WORKER_RUNTIME": "node" } }');
  await writeFile(path.join(folder, 'package.json'), '{ "name": "events", "main": "src/*.js" }');
  await writeFile(path.join(folder, 'src/functions.js'), SOURCE);
  await symlink(path.join(EXAMPLE, 'node_modules'), path.join(folder, 'node_modules'));
  chappe = await Chappe.start({ app: folder, settings: ['functions.enable_auth=true'] });
  const { masterKey } = await eventually(async () => JSON.parse(await readFile(path.join(chappe.dataDir, 'data/function-keys.json'), 'utf8')), 'the master key');
  const ask = async (target) => (await fetch(`${chappe.urls.functions}${target}`, { headers: { 'x-functions-key': masterKey } })).json();
  await eventually(async () => ((await ask('/admin/host/status')).state === 'Running' ? true : undefined), 'the app');
  key = (await ask('/admin/host/systemkeys/eventgrid_extension')).value;
  assert.ok(key, 'the system key of the extension is there from the start');
});
after(async () => {
  await chappe?.stop();
  await rm(folder, { recursive: true, force: true });
});

const webhook = (name) => `${chappe.urls.functions}/runtime/webhooks/EventGrid?functionName=${name}&code=${encodeURIComponent(key)}`;

async function logged(prefix) {
  const lines = await chappe.functionLog();
  return lines.flatMap(({ text }) => (text.startsWith(prefix) ? [JSON.parse(text.slice(prefix.length))] : []));
}

/** The client posts to a topic; a subscription forwards the events, with the header of a delivery. */
const NOTIFICATION = { requestOptions: { customHeaders: { 'aeg-event-type': 'Notification' } } };
/** Sends events with the client, which accepts only 200 as success: a topic responds with 200, and a webhook with 202. */
async function publish(name, schema, events) {
  const options = { allowInsecureConnection: true, retryOptions: { maxRetries: 0 } };
  const client = new EventGridPublisherClient(webhook(name), schema, new AzureKeyCredential('of the topic'), options);
  await assert.rejects(client.send(events, NOTIFICATION), { statusCode: 202 });
}

test('events of the publisher client invoke the functions', async () => {
  const grid = ['g1', 'g2'].map((id) => ({ id, eventType: 'Card.Moved', subject: 'cards/1', dataVersion: '1', data: { of: id } }));
  await publish('single', 'EventGrid', grid);
  await publish('batch', 'EventGrid', grid);
  const cloud = ['c1', 'c2'].map((id) => ({ id, type: 'Card.Moved', source: '/board', data: { of: id } }));
  await publish('SINGLE', 'CloudEvent', cloud);
  const seen = async () => {
    const all = await logged('event ');
    return all.length >= 4 ? all : undefined;
  };
  const events = (await eventually(seen, 'four events')).sort();
  assert.deepEqual(events, ['c1', 'c2', 'g1', 'g2'].map((id) => [id, { of: id }, { of: id }]));
  assert.deepEqual(await eventually(async () => (await logged('events '))[0], 'the batch'), ['g1', 'g2']);
});

test('a delivery with a failing event gets 500, so that it is repeated', async () => {
  const send = (events) => fetch(webhook('single'), {
    method: 'POST', headers: { 'aeg-event-type': 'Notification', 'content-type': 'application/json' }, body: JSON.stringify(events),
  });
  assert.equal((await send([{ id: 'x1', data: {} }])).status, 202);
  const failed = await send([{ id: 'x2', data: {} }, { id: 'x3', data: { fail: true } }]);
  assert.equal(failed.status, 500);
  assert.match(await failed.text(), /bad card/);
});

test('the webhook answers the handshakes of a subscription', async () => {
  const validation = await fetch(webhook('single'), {
    method: 'POST', headers: { 'aeg-event-type': 'SubscriptionValidation', 'content-type': 'application/json' },
    body: JSON.stringify([{ id: '1', eventType: 'Microsoft.EventGrid.SubscriptionValidationEvent', data: { validationCode: 'c-1' } }]),
  });
  assert.deepEqual([validation.status, await validation.json()], [200, { validationResponse: 'c-1' }]);
  const options = await fetch(webhook('single'), { method: 'OPTIONS', headers: { 'WebHook-Request-Origin': 'eventgrid.azure.net' } });
  assert.deepEqual([options.status, options.headers.get('webhook-allowed-origin')], [200, 'eventgrid.azure.net']);
  const post = (address, type) => fetch(address, { method: 'POST', headers: type ? { 'aeg-event-type': type } : {}, body: '[]' });
  assert.equal((await post(webhook('single'), 'Unsubscribe')).status, 202);
  assert.equal((await post(webhook('single'))).status, 400);
  assert.equal((await post(webhook('absent'), 'Notification')).status, 404);
  assert.equal((await post(webhook('single').replace(/code=.*/, 'code=wrong'), 'Notification')).status, 401);
});
