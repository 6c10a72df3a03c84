// The vendor's Java worker with an app of ours, built by Maven: one call for each kind of value.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Chappe } from '../harness.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const BUILT = path.join(here, '../../target/official-workers/java');

/** The functions of java/src/Calls.java, as the vendor's Maven plugin describes them. */
const FUNCTIONS = {
  text: { methods: ['GET', 'POST'] },
  order: { methods: ['POST'] },
  route: { methods: ['GET'], route: 'items/{id}' },
  failure: { methods: ['GET'] },
  bytes: { methods: ['POST'], dataType: 'binary' },
};

async function writeApp() {
  const built = spawnSync('mvn', ['-q', '-B', '-Dstyle.color=never', '-f', path.join(here, 'java/pom.xml'), 'package', `-Doutput=${BUILT}`]);
  assert.equal(built.status, 0, `mvn package: ${built.stdout}${built.stderr}`);
  const app = await mkdtemp(path.join(tmpdir(), 'official-java-'));
  await cp(path.join(BUILT, 'app.jar'), path.join(app, 'app.jar'));
  await writeFile(path.join(app, 'host.json'), JSON.stringify({ version: '2.0' }));
  await writeFile(path.join(app, 'local.settings.json'), JSON.stringify({ Values: { FUNCTIONS_WORKER_RUNTIME: 'java' } }));
  for (const [name, trigger] of Object.entries(FUNCTIONS)) {
    const bindings = [
      { type: 'httpTrigger', direction: 'in', name: 'request', authLevel: 'anonymous', ...trigger },
      { type: 'http', direction: 'out', name: '$return' },
    ];
    await mkdir(path.join(app, name));
    const description = { scriptFile: '../app.jar', entryPoint: `Calls.${name}`, bindings };
    await writeFile(path.join(app, name, 'function.json'), JSON.stringify(description));
  }
  return app;
}

const CHECKS = {
  'a query value and the method reach the function': async (call) => {
    assert.equal(await (await call('text?name=chappe')).text(), 'GET chappe ');
  },
  'a text body reaches the function': async (call) => {
    assert.equal(await (await call('text', { method: 'POST', body: 'naïve' })).text(), 'POST ? naïve');
  },
  'a JSON body becomes an object and returns as JSON, with status and header': async (call) => {
    const headers = { 'content-type': 'application/json' };
    const response = await call('order', { method: 'POST', headers, body: JSON.stringify({ item: 'tea', count: 1 }) });
    assert.equal(response.status, 201);
    assert.equal(response.headers.get('x-item'), 'tea');
    assert.deepEqual(await response.json(), { item: 'tea', count: 2 });
  },
  'a route value is bound by its name': async (call) => {
    assert.equal(await (await call('items/7')).text(), 'id 7');
  },
  'bytes return unchanged': async (call) => {
    const sent = Uint8Array.from({ length: 256 }, (_, each) => each);
    const headers = { 'content-type': 'application/octet-stream' };
    const response = await call('bytes', { method: 'POST', headers, body: sent });
    assert.deepEqual(new Uint8Array(await response.arrayBuffer()), sent);
  },
  'an exception is a 500, and its log line names class and function': async (call, chappe) => {
    assert.equal((await call('failure')).status, 500);
    const lines = (await chappe.functionLog()).map(({ text }) => text).join('\n');
    assert.match(lines, /before the failure of failure/);
    assert.match(lines, /IllegalStateException/);
  },
  'fifty calls at once are all answered': async (call) => {
    const texts = Array.from({ length: 50 }, async (_, each) => (await call(`items/${each}`)).text());
    assert.deepEqual(await Promise.all(texts), Array.from({ length: 50 }, (_, each) => `id ${each}`));
  },
};

/** Runs every check; returns whether all passed. */
export async function runJava({ workers }) {
  const app = await writeApp();
  const chappe = await Chappe.start({ app, env: { languageWorkers__workersDirectory: workers } });
  const call = (target, options) => fetch(`${chappe.urls.functions}/api/${target}`, options);
  let isGood = true;
  try {
    for (const [name, check] of Object.entries(CHECKS)) {
      try {
        await check(call, chappe);
        console.log(`  passed: ${name}`);
      } catch (error) {
        isGood = false;
        console.log(`  FAILED: ${name}: ${error.message}\n${chappe.log}`);
      }
    }
  } finally {
    await chappe.stop();
    await rm(app, { recursive: true, force: true });
  }
  return isGood;
}
