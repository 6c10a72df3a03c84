// Triggers of a real app on containers that come and go while it runs.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { COSMOS_KEY, Chappe, EXAMPLE, eventually } from './harness.mjs';

const { CosmosClient } = createRequire(new URL('./documents/package.json', import.meta.url))('@azure/cosmos');

const SOURCE = `
const { app } = require('@azure/functions');
const trigger = (name, more) => app.cosmosDB(name, {
  connection: 'CosmosDBConnection', databaseName: 'd', createLeaseContainerIfNotExists: true, feedPollDelay: 100,
  ...more,
  handler: (documents, context) => { for (const { id } of documents) context.log('seen ' + id); },
});
trigger('late', { containerName: 'late', leaseContainerPrefix: 'late-' });
trigger('one', { containerName: 'shared' });
trigger('other', { containerName: 'shared' });
trigger('apart', { containerName: 'shared', leaseContainerPrefix: 'apart-' });
`;

const SETTINGS = {
  IsEncrypted: false,
  Values: {
    FUNCTIONS_WORKER_RUNTIME: 'node',
    CosmosDBConnection: `AccountEndpoint=http://localhost:8081/;AccountKey=${COSMOS_KEY};`,
  },
};

let folder;
let chappe;
let cosmos;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'chappe-app-'));
  await mkdir(path.join(folder, 'src'));
  await writeFile(path.join(folder, 'host.json'), '{ "version": "2.0" }');
  await writeFile(path.join(folder, 'local.settings.json'), JSON.stringify(SETTINGS));
  await writeFile(path.join(folder, 'package.json'), '{ "name": "triggers", "main": "src/*.js" }');
  await writeFile(path.join(folder, 'src/functions.js'), SOURCE);
  await symlink(path.join(EXAMPLE, 'node_modules'), path.join(folder, 'node_modules'));
  chappe = await Chappe.start({ app: folder });
  cosmos = new CosmosClient({ endpoint: chappe.urls.documents, key: COSMOS_KEY });
});
after(async () => {
  cosmos?.dispose();
  await chappe?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** The ids that a function has logged, each once: changes that were delivered before a checkpoint may come again. */
async function seen(name) {
  const lines = await chappe.functionLog();
  const texts = lines.filter((line) => line.function === name).map((line) => line.text.match(/^seen (.*)$/)?.[1]);
  return [...new Set(texts.filter((id) => id !== undefined))];
}

/** Creates the container and writes 20 items one after another. */
async function fill(prefix) {
  const { database } = await cosmos.databases.createIfNotExists({ id: 'd' });
  const { container } = await database.containers.create({ id: 'late', partitionKey: '/id' });
  const ids = Array.from({ length: 20 }, (_, index) => `${prefix}${index}`);
  for (const id of ids) await container.items.create({ id });
  return { container, ids };
}

// The log keeps only its last lines, so the lines of the start are checked first.
test('two functions that share leases cause a warning, and one with a prefix does not', async () => {
  await eventually(() => (/same leases/.test(chappe.log) ? true : undefined), 'a warning');
  const [line, ...more] = chappe.log.split('\n').filter((each) => /same leases/.test(each));
  assert.deepEqual(more, []);
  assert.match(line, /'(one|other)' and '(one|other)' listen to the container d\/shared with the same leases in d\/leases/);
  assert.match(line, /leaseContainerPrefix/);
});

test('a trigger that starts before its container exists misses no item', async () => {
  await eventually(() => (/container 'late' in database 'd'.* does not exist/.test(chappe.log) ? true : undefined), 'the missing container is told');
  const { ids } = await fill('first-');
  await eventually(async () => ((await seen('late')).length >= 20 ? true : undefined), '20 items');
  assert.deepEqual((await seen('late')).sort(), ids.sort());
});

test('a trigger loses no item of a container that is deleted and created again', async () => {
  await cosmos.database('d').container('late').delete();
  const { ids } = await fill('second-');
  const ofSecond = async () => (await seen('late')).filter((id) => id.startsWith('second-'));
  await eventually(async () => ((await ofSecond()).length >= 20 ? true : undefined), '20 items');
  assert.deepEqual((await ofSecond()).sort(), ids.sort());
});
