// The usage of functions as an operator reads it: `chappe functions usage`, also after `kill -9`.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';

import { Chappe, EXAMPLE, eventually } from './harness.mjs';

const run = promisify(execFile);
const binary = process.env.CHAPPE_BIN ?? path.resolve('../target/debug/chappe');

test('the usage of functions survives kill -9', async () => {
  const app = await mkdtemp(path.join(tmpdir(), 'chappe-usage-'));
  let chappe;
  try {
    await mkdir(path.join(app, 'src'));
    await writeFile(path.join(app, 'host.json'), '{ "version": "2.0" }');
    await writeFile(path.join(app, 'local.settings.json'), '{ "IsEncrypted": false, "Values": { "FUNCTIONS_WORKER_RUNTIME": "node" } }');
    await writeFile(path.join(app, 'package.json'), '{ "name": "used", "main": "src/*.js" }');
    await writeFile(path.join(app, 'src/functions.js'), `
      const { app } = require('@azure/functions');
      app.http('hello', { authLevel: 'anonymous', handler: () => ({ body: 'hello' }) });
    `);
    await symlink(path.join(EXAMPLE, 'node_modules'), path.join(app, 'node_modules'));
    chappe = await Chappe.start({ app });
    const usage = async (...flags) => {
      const { stdout } = await run(binary, ['functions', 'usage', '--url', chappe.urls.gateway, ...flags]);
      return stdout;
    };
    assert.equal((await usage()).trim(), 'No function was executed in this time.');
    for (let call = 0; call < 20; call += 1) {
      assert.equal((await fetch(`${chappe.urls.functions}/api/hello`)).status, 200);
    }
    const before = JSON.parse(await usage('--json'));
    assert.equal(before.rows[0].executions, 20);
    assert.ok(before.rows[0].milliseconds >= 2000, 'each counts at least 100 ms');
    assert.equal(before.rows[0].gbSeconds, before.rows[0].executionUnits / 1_024_000);
    // The counts are written every 2 seconds; nothing else shows when.
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    await chappe.kill();
    await chappe.run();
    const after = await eventually(async () => JSON.parse(await usage('--json')), 'the report');
    assert.deepEqual(after, before);
    assert.match(await usage(), /^function +executions +failed +ms +MB-ms +GB-s\nhello +20 +0 /);
    const csv = (await usage('--csv', '--by', 'hour', '--from', '2020-01-01')).trim().split('\n');
    assert.equal(csv[0], 'start,function,executions,failures,milliseconds,executionUnits,gbSeconds');
    assert.match(csv[1], /^\d{4}-\d\d-\d\dT\d\d:00:00Z,hello,20,0,/);
    await assert.rejects(usage('--from', 'yesterday'), /admin-invalid-usage-query/);
  } finally {
    await chappe?.stop();
    await rm(app, { recursive: true, force: true });
  }
});
