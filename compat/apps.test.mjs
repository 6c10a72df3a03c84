// Apps that are broken, slow or exposed, on the built binary: the problem is reported, and nothing else is affected.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

import { Chappe, EXAMPLE, eventually } from './harness.mjs';

const CONTAINER = "{ connection: 'CosmosDBConnection', databaseName: 'd', containerName: 'c' }";
const SETTINGS = {
  IsEncrypted: false,
  Values: {
    FUNCTIONS_WORKER_RUNTIME: 'node',
    CosmosDBConnection: 'AccountEndpoint=http://localhost:8081/;AccountKey=C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==;',
  },
};

/** Runs `use` with an app whose only source file holds `source`, and with its folder. */
async function withApp({ source, packages = true, settings, listen, flags }, use) {
  const app = await mkdtemp(path.join(tmpdir(), 'chappe-app-'));
  let chappe;
  try {
    await mkdir(path.join(app, 'src'));
    await writeFile(path.join(app, 'host.json'), '{ "version": "2.0" }');
    await writeFile(path.join(app, 'local.settings.json'), JSON.stringify(SETTINGS));
    await writeFile(path.join(app, 'package.json'), '{ "name": "broken", "main": "src/*.js" }');
    await writeFile(path.join(app, 'src/functions.js'), source);
    if (packages) await symlink(path.join(EXAMPLE, 'node_modules'), path.join(app, 'node_modules'));
    chappe = await Chappe.start({ app, settings, listen, flags });
    await use(chappe, app);
  } finally {
    await chappe?.stop();
    await rm(app, { recursive: true, force: true });
  }
}

const logged = (chappe, pattern) => eventually(() => (pattern.test(chappe.log) ? chappe.log : undefined), `a log line like ${pattern}`);

test('an app with missing packages is reported with the command that installs them', () => (
  withApp({ source: "require('@azure/functions');", packages: false }, async (chappe) => {
    await logged(chappe, /'@azure\/functions' is not installed. Run 'npm install/);
    assert.equal((await fetch(`${chappe.urls.gateway}/healthz`)).status, 200);
    assert.equal(chappe.log.split('is not installed').length, 2, `said once:\n${chappe.log}`);
  })
));

test('an app without its packages starts once they are installed, without a restart', () => (
  withApp({
    source: "require('@azure/functions').app.http('hello', { handler: () => ({ body: 'hello' }) });", packages: false,
  }, async (chappe, app) => {
    await logged(chappe, /'@azure\/functions' is not installed/);
    const { functions, gateway } = chappe.urls;
    const ready = async () => {
      const answer = await fetch(`${gateway}/readyz`);
      return [answer.status, await answer.text()];
    };
    const [status, reason] = await ready();
    assert.equal(status, 503);
    assert.match(reason, /function app: .*'@azure\/functions' is not installed/);
    const page = await fetch(functions);
    assert.equal(page.status, 503);
    assert.match(await page.text(), /is not running[^]*'@azure\/functions' is not installed/);
    assert.equal((await fetch(`${functions}/api/hello`)).status, 503);

    await symlink(path.join(EXAMPLE, 'node_modules'), path.join(app, 'node_modules'));
    const hello = await eventually(async () => {
      const answer = await fetch(`${functions}/api/hello`);
      return answer.status === 200 ? answer.text() : undefined;
    }, 'an answer of the function');
    assert.equal(hello, 'hello');
    assert.deepEqual(await ready(), [200, 'ready\n']);
    assert.match(await (await fetch(functions)).text(), /up and running/);
  })
));

test('a syntax error is reported with file and line', () => (
  withApp({ source: "const { app } = require('@azure/functions');\nconst broken = {;\n" }, async (chappe) => {
    await logged(chappe, /functions\.js:2: Unexpected token/);
  })
));

const FUNCTIONS = `
const { app, input, output } = require('@azure/functions');
const stored = output.cosmosDB({ ...${CONTAINER}, createIfNotExists: true, partitionKey: '/id' });
app.http('boom', { handler: async () => {
  throw new Error('as asked'); // line 5
} });
app.http('unhandled', { handler: async () => { setTimeout(() => Promise.reject(new Error('nobody waits'))); return { body: 'ok' }; } });
app.http('echo', { methods: ['POST'], handler: async (request) => ({ body: String((await request.text()).length) }) });
app.http('slow', { handler: async (request, context) => {
  context.log('slow begins');
  await new Promise((resolve) => { setTimeout(resolve, 1500); });
  return { body: 'done' };
} });
app.http('put', { methods: ['POST'], extraOutputs: [stored], handler: async (request, context) => {
  context.extraOutputs.set(stored, await request.json());
  return { status: 204 };
} });
app.cosmosDB('changed', { ...${CONTAINER}, createLeaseContainerIfNotExists: true, startFromBeginning: true,
  handler: async (documents, context) => {
    const ids = documents.map(({ id }) => id).join(',');
    context.log('batch begins with ' + ids);
    // Long enough for the test to kill the worker in between.
    await new Promise((resolve) => { setTimeout(resolve, 1000); });
    context.log('batch ends with ' + ids);
  } });
`;

test('a function in error does not affect the others', () => withApp({
  source: FUNCTIONS, settings: ['functions.body_bytes_max=100000'],
}, async (chappe) => {
  const { functions } = chappe.urls;
  const echo = async (body, headers = {}) => fetch(`${functions}/api/echo`, { method: 'POST', body, headers, duplex: 'half' });
  const echoes = () => eventually(async () => ((await (await echo('abc')).text()) === '3' ? true : undefined), 'an echo');
  await echoes();

  assert.equal((await fetch(`${functions}/api/boom`)).status, 500);
  await logged(chappe, /as asked[^\n]*functions\.js:5:/);

  const chunks = () => new ReadableStream({
    start(controller) {
      for (let count = 0; count < 100; count += 1) controller.enqueue(new Uint8Array(50_000));
      controller.close();
    },
  });
  for (const body of ['a'.repeat(5_000_000), chunks()]) assert.equal((await echo(body)).status, 413);
  await echoes();

  await fetch(`${functions}/api/unhandled`);
  await logged(chappe, /nobody waits[^\n]*functions\.js:7:/);
  await echoes();

  const put = await fetch(`${functions}/api/put`, { method: 'POST', body: '[{"id":"a"},{"id":"b"}]' });
  assert.equal(put.status, 204, chappe.log);
  const batches = async (word) => (await chappe.functionLog()).filter(({ text }) => text.startsWith(`batch ${word} `));
  await eventually(async () => ((await batches('begins')).length ? true : undefined), 'the first batch');
  const { killed } = await (await fetch(`${chappe.urls.gateway}/chappe/api/workers/kill`, { method: 'POST' })).json();
  assert.equal(killed.length, 1);
  // The worker was killed in the middle of the batch, so the batch was not completed and comes again.
  await eventually(async () => {
    const ended = (await batches('ends')).flatMap(({ text }) => text.replace('batch ends with ', '').split(','));
    return ['a', 'b'].every((id) => ended.includes(id)) ? true : undefined;
  }, 'the batch after the kill');
  assert.ok((await batches('begins')).length >= 2);
}));

test('a first SIGTERM closes the port of the functions and lets a slow function finish', () => withApp({ source: FUNCTIONS }, async (chappe) => {
  const answer = fetch(`${chappe.urls.functions}/api/slow`);
  await logged(chappe, /slow begins/);
  const code = chappe.drain();
  await logged(chappe, /ask again to end at once/);
  // The port is closed while the call still runs.
  const refused = await eventually(async () => {
    const { cause } = await fetch(`${chappe.urls.functions}/api/slow`).then(() => ({}), (error) => error);
    return cause?.code === 'ECONNREFUSED' || cause?.errors?.every((each) => each.code === 'ECONNREFUSED') || undefined;
  }, 'a refused connection');
  assert.ok(refused);
  const response = await answer;
  assert.deepEqual([response.status, await response.text()], [200, 'done']);
  assert.equal(await code, 0);
}));

test('a second SIGTERM ends at once', () => withApp({ source: FUNCTIONS }, async (chappe) => {
  const answer = fetch(`${chappe.urls.functions}/api/slow`).then(() => 'answered', () => 'cut');
  await logged(chappe, /slow begins/);
  const first = chappe.drain();
  await logged(chappe, /ask again to end at once/);
  await Promise.all([first, chappe.drain()]);
  assert.equal(await answer, 'cut');
}));

test('beyond loopback functions require their keys', () => withApp({
  source: "const { app } = require('@azure/functions');\n"
    + "app.http('open', { authLevel: 'anonymous', handler: () => ({ body: 'open' }) });\n"
    + "app.http('locked', { authLevel: 'function', handler: () => ({ body: 'locked' }) });\n",
  listen: { gateway: '0.0.0.0:0' },
}, async (chappe) => {
  const status = async (address, headers = {}) => (await fetch(address, { headers })).status;
  const { functions, gateway } = chappe.urls;
  await eventually(async () => ((await status(`${functions}/api/open`)) === 200 ? true : undefined), 'an answer');
  for (const base of [functions, gateway]) {
    assert.equal(await status(`${base}/api/open`), 200);
    assert.equal(await status(`${base}/api/locked`), 401);
    assert.equal(await status(`${base}/api/locked?code=guess`), 401);
    assert.equal(await status(`${base}/api/locked`, { 'x-functions-key': 'guess' }), 401);
  }
  assert.equal(await status(`${functions}/admin/functions`), 401);
  // The user of the machine finds the first key in the data folder, and with it every other one.
  const { masterKey } = JSON.parse(await readFile(path.join(chappe.facts.dataDir, 'function-keys.json')));
  assert.equal(await status(`${functions}/api/locked`, { 'x-functions-key': masterKey }), 200);
  assert.equal(await status(`${functions}/admin/functions?code=${masterKey}`), 200);
}));

/** A port that is free now. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

test('flags of `func start` do what they do there', async () => {
  const port = await freePort();
  await withApp({
    source: "const { app } = require('@azure/functions');\n"
      + "app.http('one', { authLevel: 'anonymous', handler: () => ({ jsonBody: process.execArgv }) });\n"
      + "app.http('two', { authLevel: 'function', handler: () => ({ body: 'two' }) });\n"
      + "app.http('three', { authLevel: 'anonymous', handler: () => ({ body: 'three' }) });\n",
    flags: ['--port', String(port), '--cors', 'https://a.example,https://b.example', '--cors-credentials', '--enableAuth', '--useHttps',
      '--verbose', '--no-build', '--language-worker', '--', '--no-deprecation', '--functions', 'one', 'two'],
  }, async (chappe) => {
    const base = `http://localhost:${port}`;
    assert.equal(chappe.urls.functions, base);
    const one = await eventually(async () => {
      const answer = await fetch(`${base}/api/one`, { headers: { origin: 'https://b.example' } });
      return answer.status === 200 ? answer : undefined;
    }, 'an answer');
    assert.equal(one.headers.get('access-control-allow-origin'), 'https://b.example');
    assert.equal(one.headers.get('access-control-allow-credentials'), 'true');
    assert.ok((await one.json()).includes('--no-deprecation'), 'the runtime has its argument');
    assert.equal((await fetch(`${base}/api/two`)).status, 401, 'keys are asked for');
    assert.equal((await fetch(`${base}/api/three`)).status, 404, 'it is not among those to load');
    await logged(chappe, new RegExp(`one: .* https://localhost:${port}/api/one`));
    assert.match(chappe.log, /"level":"DEBUG"/);
  });
});

/** The status of a response over TLS, trusting this authority only. */
const securely = (url, ca) => new Promise((resolve, reject) => {
  get(url, { ca, agent: false }, (response) => { response.resume(); resolve(response.statusCode); }).on('error', reject);
});

test('every port accepts TLS and plain HTTP under every name of this machine', () => withApp({
  source: FUNCTIONS,
}, async (chappe) => {
  const ca = await readFile(chappe.facts.certificateAuthority);
  for (const service of ['gateway', 'functions', 'realtime', 'documents']) {
    const plain = chappe.urls[service];
    assert.equal(chappe.facts.httpsUrls[service], plain.replace('http:', 'https:'));
    const { status } = await fetch(plain);
    for (const host of ['localhost', '127.0.0.1', '[::1]']) {
      const secure = plain.replace('http:', 'https:').replace('localhost', host);
      assert.equal(await securely(secure, ca), status, secure);
    }
    // The authority belongs to this data folder; no other trust store contains it.
    await assert.rejects(securely(plain.replace('http:', 'https:')), /self-signed|unable to (get|verify)/);
  }
}));
