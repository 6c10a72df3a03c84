// A recorded C# app (`deferred/`) on the host: its Cosmos DB inputs are references, as the real worker received them, and its SignalR and
// Event Grid triggers get the recorded requests.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { COSMOS_KEY, Chappe, Messages, SIGNALR_KEY, client, eventually, token } from './harness.mjs';

const require = createRequire(import.meta.url);
const here = path.dirname(fileURLToPath(import.meta.url));
const { invocationOf } = require('./deferred/invocation.cjs');
const { parse } = require('../crates/functions/tests/workers/protobuf.js');

const SETTINGS = {
  IsEncrypted: false,
  Values: {
    FUNCTIONS_WORKER_RUNTIME: 'dotnet-isolated',
    CosmosDBConnection: `AccountEndpoint=http://localhost:8081/;AccountKey=${COSMOS_KEY};`,
    AzureSignalRConnectionString: `Endpoint=http://localhost:8888;AccessKey=${SIGNALR_KEY};Version=1.0;`,
  },
};

let folder;
let chappe;
let record;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'chappe-app-'));
  record = path.join(folder, '.invocations');
  await writeFile(record, '');
  await writeFile(path.join(folder, 'host.json'), '{ "version": "2.0" }');
  await writeFile(path.join(folder, 'local.settings.json'), JSON.stringify(SETTINGS));
  chappe = await Chappe.start({
    app: folder,
    env: { 'languageWorkers__dotnet-isolated__workerDirectory': path.join(here, 'deferred'), RECORDED_INVOCATIONS: record },
  });
  await eventually(async () => ((await (await fetch(`${chappe.urls.functions}/admin/host/status`)).json()).state === 'Running' ? true : undefined), 'the app');
});
after(async () => {
  await chappe?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** The newest invocation of a function. */
async function sent(name) {
  const text = await readFile(record, 'utf8');
  const lines = text.trim().split('\n').filter(Boolean).map(JSON.parse);
  return lines.filter((line) => line.function === name).at(-1);
}

/** The recorded invocations by the function's name. */
async function recordedInvocations() {
  const lines = (await readFile(path.join(here, 'deferred/cosmos-deferred.jsonl'), 'utf8')).trim().split('\n').map(JSON.parse);
  const contentOf = ({ hex }, number) => parse(parse(Buffer.from(hex, 'hex'))[number][0]);
  const metadata = contentOf(lines.find(({ type }) => type === 'function_metadata_response'), 30);
  const names = new Map(metadata[1].map(parse).map((each) => [String(each[13][0]), String(each[4][0])]));
  return lines.filter(({ type }) => type === 'invocation_request').map((line) => {
    const invocation = contentOf(line, 4);
    return { function: names.get(String(invocation[2][0])), ...invocationOf(invocation) };
  });
}

/** The properties that the recording omits have the values of an attribute that does not set them. */
const ABSENT = { DatabaseName: null, ContainerName: null, CreateIfNotExists: false, Connection: null, Id: null, PartitionKey: null, ContainerThroughput: 0, SqlQuery: null, SqlQueryParameters: null, PreferredLocations: null };
const completed = ({ reference }) => ({ ...reference, content: { ...ABSENT, ...reference.content } });

test('a recorded C# app gets references for its Cosmos DB inputs', async () => {
  const recorded = await recordedInvocations();
  const calls = [
    ['ByPoco', 'doc', 'poco/a', 'text of a'], ['ByPoco', 'doc', 'poco/zz', 'none'], ['ByString', 'doc', 'string/a'],
    ['ByQuery', 'docs', 'query', 'a,b'], ['ByContainer', 'container', 'container/a', 'text of a'], ['ByClient', 'client', 'client/a', 'text of a'],
  ];
  for (const [name, input, target, expected] of calls) {
    const response = await fetch(`${chappe.urls.functions}/api/${target}`);
    // The worker rejects a reference for a parameter of type string, as recorded.
    assert.equal(response.status, expected === undefined ? 500 : 200, name);
    if (expected !== undefined) assert.equal(await response.text(), expected);
    const { inputs: { [input]: found } } = await sent(name);
    const id = target.split('/')[1];
    const was = recorded.find((each) => each.function === name && each.inputs[input].reference && (each.inputs[input].reference.content.Id ?? id) === id);
    assert.deepEqual(found.reference, completed(was.inputs[input]), `${name} ${target}`);
    assert.deepEqual(Object.keys(found.reference.content), Object.keys(ABSENT), 'the order of the class');
  }
});

test('its signalRTrigger answers a client and its output reaches all', async () => {
  const audience = `${chappe.urls.realtime}/client/?hub=hub`;
  const connection = client(audience, { accessToken: token({ audience, claims: { nameid: 'u1' } }), retry: false });
  const received = new Messages(connection, 'received');
  await connection.start();
  const result = await connection.invoke('send', 'hi');
  assert.deepEqual([result.Target, result.Arguments], ['received', ['hi']], 'the return value is the completion');
  await received.find((text) => text === 'hi');
  const { inputs: { context }, metadata } = await sent('OnMessage');
  assert.deepEqual(metadata, { text: { text: 'hi' } });
  const { Arguments, Error: error, Category, Event, Hub, ConnectionId, UserId } = context.json;
  assert.deepEqual([Arguments, error, Category, Event, Hub, ConnectionId, UserId], [['hi'], null, 'messages', 'send', 'hub', connection.connectionId, 'u1']);
  await connection.stop();
});

test('its eventGridTrigger gets the recorded event', async () => {
  const was = (await recordedInvocations()).find((each) => each.function === 'ByGridEvent');
  const response = await fetch(`${chappe.urls.functions}/runtime/webhooks/eventgrid?functionName=ByGridEvent`, {
    method: 'POST', headers: { 'aeg-event-type': 'Notification' }, body: JSON.stringify([was.inputs.e.json]),
  });
  assert.equal(response.status, 202);
  assert.deepEqual((await sent('ByGridEvent')).inputs.e, was.inputs.e);
});
