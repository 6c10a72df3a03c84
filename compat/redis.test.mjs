// Redis triggers and bindings of a real app, with a real Redis server, and node-redis as the other client.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';

import { createClient } from '@redis/client';

import { Chappe, EXAMPLE, eventually } from './harness.mjs';

const SOURCE = `
const { app, input, output } = require('@azure/functions');

const connection = 'Redis';
const pollingIntervalInMs = 50;
// What a function got, as JSON in a list: a shape can be compared, and nothing is lost when the process is killed.
const seen = (name) => output.generic({ type: 'redis', connection, command: 'RPUSH seen:' + name });
const trigger = (type, more) => ({ type, name: 'entry', connection, pollingIntervalInMs, ...more });
const shape = (entry, context) => {
  const { triggerMetadata } = context;
  const { key, value, id, values, count, channel, subscriptionChannel, message } = triggerMetadata;
  return JSON.stringify({ entry, metadata: { key, value, id, values, count, channel, subscriptionChannel, message } }).replaceAll(' ', '_');
};

app.generic('onMessage', {
  trigger: trigger('redisPubSubTrigger', { channel: 'news' }), return: seen('message'), handler: shape,
});
app.generic('onPattern', {
  trigger: trigger('redisPubSubTrigger', { channel: 'user:*', pattern: true }), return: seen('pattern'), handler: shape,
});
app.generic('onEntry', {
  trigger: trigger('redisListTrigger', { key: 'list' }), return: seen('list'), handler: shape,
});
app.generic('onEntries', {
  trigger: trigger('redisListTrigger', { key: 'lists', cardinality: 'many', maxBatchSize: 5, listDirection: 'RIGHT' }),
  return: seen('lists'), handler: shape,
});
app.generic('onStreamEntry', {
  trigger: trigger('redisStreamTrigger', { key: 'stream' }), return: seen('stream'), handler: shape,
});
app.generic('onStreamEntries', {
  trigger: trigger('redisStreamTrigger', { key: '%STREAM%', cardinality: 'many', maxBatchSize: 5 }),
  return: seen('streams'), handler: shape,
});

// Every entry of these takes a while, so that a kill meets some.
const slowly = async (entry, context) => {
  await new Promise((resolve) => setTimeout(resolve, 20));
  return String(entry.Id ?? entry);
};
app.generic('slowList', {
  trigger: trigger('redisListTrigger', { key: 'slow-list', maxBatchSize: 8 }), return: seen('slow-list'), handler: slowly,
});
app.generic('slowStream', {
  trigger: trigger('redisStreamTrigger', { key: 'slow-stream', maxBatchSize: 8 }), return: seen('slow-stream'), handler: slowly,
});

const byRoute = input.generic({ type: 'redis', connection, command: 'GET {name}' });
app.http('read', {
  route: 'read/{name}', authLevel: 'anonymous', extraInputs: [byRoute],
  handler: (request, context) => ({ jsonBody: { found: context.extraInputs.get(byRoute) ?? null } }),
});
const several = output.generic({ type: 'redis', connection, command: 'SET' });
app.http('write', {
  authLevel: 'anonymous', methods: ['POST'], extraOutputs: [several],
  handler: async (request, context) => { context.extraOutputs.set(several, await request.json()); return { status: 204 }; },
});
`;

let folder;
let server;
let chappe;
let redis;

/** Starts a server for the test on a free port. */
async function startRedis() {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    const { port } = probe.address();
    probe.close();
    await once(probe, 'close');
    const flags = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', folder, '--requirepass', 'pass=word'];
    const child = spawn('redis-server', flags, { stdio: ['ignore', 'pipe', 'ignore'] });
    const ready = await new Promise((resolve, reject) => {
      child.on('error', (cause) => reject(new Error('install redis-server: cargo xtask ci does it', { cause })));
      child.on('exit', () => resolve(false));
      createInterface({ input: child.stdout }).on('line', (line) => line.includes('Ready to accept') && resolve(true));
    });
    if (ready) return { child, port };
  }
  throw new Error('redis-server did not start on any of 10 ports');
}

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'chappe-redis-'));
  server = await startRedis();
  const settings = {
    IsEncrypted: false,
    Values: {
      FUNCTIONS_WORKER_RUNTIME: 'node',
      Redis: `127.0.0.1:${server.port},password=pass=word,ssl=False,abortConnect=False`,
      STREAM: 'streams',
    },
  };
  await mkdir(path.join(folder, 'src'));
  await writeFile(path.join(folder, 'host.json'), '{ "version": "2.0" }');
  await writeFile(path.join(folder, 'local.settings.json'), JSON.stringify(settings));
  await writeFile(path.join(folder, 'package.json'), '{ "name": "redis-app", "main": "src/*.js" }');
  await writeFile(path.join(folder, 'src/functions.js'), SOURCE);
  await symlink(path.join(EXAMPLE, 'node_modules'), path.join(folder, 'node_modules'));
  redis = createClient({ url: `redis://127.0.0.1:${server.port}`, password: 'pass=word' });
  // The last test stops the server.
  redis.on('error', () => {});
  await redis.connect();
  chappe = await Chappe.start({ app: folder });
});
after(async () => {
  await chappe?.stop();
  redis?.destroy();
  server?.child.kill('SIGKILL');
  await rm(folder, { recursive: true, force: true });
});

/** Waits until a function has recorded this many values, and returns them. */
async function seen(name, count = 1) {
  const values = () => redis.lRange(`seen:${name}`, 0, -1);
  await eventually(async () => ((await values()).length >= count ? true : undefined), `${count} of ${name}`);
  return (await values()).map((value) => (value.startsWith('{') ? JSON.parse(value) : value));
}

/** Publishes once there is a subscriber. */
async function publish(channel, message) {
  await eventually(async () => ((await redis.publish(channel, message)) > 0 ? true : undefined), `a subscriber of ${channel}`);
}

test('a message of a channel or of a matching pattern is an object with channel and message', async () => {
  await publish('news', 'hello');
  const message = { SubscriptionChannel: 'news', Channel: 'news', Message: 'hello' };
  const metadata = { channel: 'news', subscriptionChannel: 'news', message: 'hello' };
  assert.deepEqual(await seen('message'), [{ entry: message, metadata }]);
  await publish('user:7', '{"a":1}');
  const [{ entry }] = await seen('pattern');
  assert.deepEqual(entry, { SubscriptionChannel: 'user:*', Channel: 'user:7', Message: '{"a":1}' });
});

test('an entry of a list is its value, and a batch is an array from the configured end', async () => {
  await redis.rPush('list', 'plain');
  await redis.rPush('list', '{"a":1}');
  const values = await seen('list', 2);
  values.sort((one, other) => (typeof one.entry < typeof other.entry ? 1 : -1));
  assert.deepEqual(values, [
    { entry: 'plain', metadata: { key: 'list', value: 'plain' } },
    { entry: { a: 1 }, metadata: { key: 'list', value: { a: 1 } } },
  ]);
  await redis.rPush('lists', ['a', 'b', 'c']);
  const entries = await seen('lists');
  assert.deepEqual(entries.flatMap(({ entry }) => entry), ['c', 'b', 'a']);
  assert.equal(entries[0].metadata.count, entries[0].entry.length);
});

test('an entry of a stream has Id and Values and is acknowledged for the group of its function', async () => {
  const id = await redis.xAdd('stream', '*', { name: 'Ada', age: '36' });
  const values = { name: 'Ada', age: '36' };
  assert.deepEqual(await seen('stream'), [{ entry: { Id: id, Values: values }, metadata: { key: 'stream', id, values } }]);
  await eventually(async () => {
    const { pending } = await redis.xPending('stream', 'Functions.onStreamEntry');
    return pending === 0 ? true : undefined;
  }, 'the acknowledgement');
  for (const n of ['1', '2', '3']) await redis.xAdd('streams', '*', { n });
  await eventually(async () => {
    const all = (await redis.lRange('seen:streams', 0, -1)).flatMap((value) => JSON.parse(value).entry);
    return all.length === 3 ? true : undefined;
  }, 'three entries in batches');
  const batches = await seen('streams');
  assert.deepEqual(batches.flatMap(({ entry }) => entry.map(({ Values }) => Values.n)), ['1', '2', '3']);
});

test('an output runs its command for each value, and an input reads by a route parameter', async () => {
  const url = (rest) => new URL(rest, chappe.urls.functions);
  const body = JSON.stringify(['one 1', 'two {"x":1}']);
  const written = await fetch(url('/api/write'), { method: 'POST', body });
  assert.equal(written.status, 204);
  assert.equal(await redis.get('one'), '1');
  assert.deepEqual(await (await fetch(url('/api/read/two'))).json(), { found: { x: 1 } });
  assert.deepEqual(await (await fetch(url('/api/read/three'))).json(), { found: null });
  const refused = await fetch(url('/api/write'), { method: 'POST', body: JSON.stringify(['key-only']) });
  assert.equal(refused.status, 500);
  assert.match(chappe.printed.join('\n'), /run SET for the redis output of function 'write': Redis at 127\.0\.0\.1:\d+ answered ERR wrong number of arguments/);
});

test('after kill -9 every entry is handled, and only those in flight twice', async () => {
  const count = 200;
  const numbers = Array.from({ length: count }, (_, index) => `${index}`);
  await redis.rPush('slow-list', numbers);
  const ids = [];
  for (const n of numbers) ids.push(await redis.xAdd('slow-stream', '*', { n }));
  await seen('slow-list', 40);
  await seen('slow-stream', 40);
  await chappe.kill();
  await chappe.run();
  for (const [name, expected] of [['slow-list', numbers], ['slow-stream', ids]]) {
    await eventually(async () => {
      const distinct = new Set(await redis.lRange(`seen:${name}`, 0, -1));
      return distinct.size === count ? true : undefined;
    }, `every entry of ${name}`);
    const all = await redis.lRange(`seen:${name}`, 0, -1);
    assert.deepEqual([...new Set(all)].sort(), [...expected].sort());
    assert.ok(all.length - count <= 8, `${all.length - count} entries of ${name} came twice, but at most 8 were in flight`);
  }
  await eventually(async () => {
    const { pending } = await redis.xPending('slow-stream', 'Functions.slowStream');
    const left = await redis.keys('{slow-list}:*');
    return pending === 0 && left.length === 0 && (await redis.lLen('slow-list')) === 0 ? true : undefined;
  }, 'nothing is pending');
});

test('dynamic concurrency grows under load, shrinks with the CPU threshold, and survives a restart', async () => {
  const app = await mkdtemp(path.join(tmpdir(), 'chappe-concurrency-'));
  const concurrency = { dynamicConcurrencyEnabled: true, CPUThreshold: 0.95 };
  const writeHost = (section) => writeFile(path.join(app, 'host.json'), JSON.stringify({ version: '2.0', concurrency: section }));
  await mkdir(path.join(app, 'src'));
  await writeHost(concurrency);
  await writeFile(path.join(app, 'local.settings.json'), JSON.stringify({
    IsEncrypted: false,
    Values: { FUNCTIONS_WORKER_RUNTIME: 'node', Redis: `127.0.0.1:${server.port},password=pass=word,abortConnect=False` },
  }));
  await writeFile(path.join(app, 'package.json'), '{ "name": "concurrency", "main": "src/*.js" }');
  await writeFile(path.join(app, 'src/functions.js'), `
    const { app } = require('@azure/functions');
    let running = 0;
    let most = 0;
    app.generic('work', {
      trigger: { type: 'redisListTrigger', name: 'entry', connection: 'Redis', key: 'work', maxBatchSize: 16, pollingIntervalInMs: 10 },
      handler: async () => {
        most = Math.max(most, running += 1);
        await new Promise((resolve) => setTimeout(resolve, 20));
        running -= 1;
      },
    });
    app.http('most', { authLevel: 'anonymous', handler: () => { const body = String(most); most = 0; return { body }; } });
  `);
  await symlink(path.join(EXAMPLE, 'node_modules'), path.join(app, 'node_modules'));
  const feeding = setInterval(() => redis.rPush('work', Array.from({ length: 100 }, () => 'x')).catch(() => {}), 50);
  const host = await Chappe.start({ app, settings: ['functions.concurrency_interval_ms=100'] });
  const most = async () => Number(await (await fetch(`${host.urls.functions}/api/most`)).text());
  const log = () => host.printed.join('\n');
  try {
    await eventually(async () => ((await most()) >= 8 ? true : undefined), 'eight at a time');
    assert.match(log(), /work Increasing concurrency \(Concurrency: 2\)/);
    // Any use of the processor is too much now. The edit is a new generation, which the numbers outlive.
    await writeHost({ ...concurrency, CPUThreshold: 0.001 });
    await eventually(() => (/work Decreasing concurrency \(Enabled throttles: CPU, Concurrency: \d+\)/.test(log()) ? true : undefined), 'it shrinks');
    await most();
    await eventually(async () => ((await most()) === 1 ? true : undefined), 'one at a time');
    await writeHost(concurrency);
    await eventually(async () => ((await most()) >= 4 ? true : undefined), 'it grows again');
    await host.drain();
    const before = host.printed.length;
    await host.run();
    const applied = await eventually(() => /Applying status snapshot for function work \(Concurrency: (\d+)\)/.exec(host.printed.slice(before).join('\n')) ?? undefined, 'the snapshot');
    assert.ok(Number(applied[1]) > 1, applied[0]);
  } finally {
    clearInterval(feeding);
    await host.stop();
    await rm(app, { recursive: true, force: true });
  }
});

test('a server that stops is reported, and triggers continue once it runs again', async () => {
  server.child.kill('SIGKILL');
  await once(server.child, 'exit');
  await eventually(() => (/The listener for function 'Functions.onEntry' failed: .*no connection to Redis/.test(chappe.printed.join('\n')) ? true : undefined), 'the outage in the log');
  const flags = ['--port', `${server.port}`, '--bind', '127.0.0.1', '--save', '', '--dir', folder, '--requirepass', 'pass=word'];
  server.child = spawn('redis-server', flags, { stdio: ['ignore', 'ignore', 'ignore'] });
  redis.destroy();
  redis = await eventually(async () => {
    const client = createClient({ url: `redis://127.0.0.1:${server.port}`, password: 'pass=word', socket: { reconnectStrategy: false } });
    client.on('error', () => {});
    return client.connect().catch(() => undefined);
  }, 'the server');
  await redis.rPush('list', 'again');
  const [{ entry }] = await seen('list');
  assert.equal(entry, 'again');
});
