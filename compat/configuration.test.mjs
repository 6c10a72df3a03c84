// The JSON Schema of chappe.toml with a validator that editors use, compared with what the binary itself accepts.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'smol-toml';

const here = path.dirname(fileURLToPath(import.meta.url));
const binary = process.env.CHAPPE_BIN ?? path.join(here, '../target/debug/chappe');

/** Runs the binary; its exit code and its output. */
const run = (cwd, ...args) => new Promise((resolve) => {
  execFile(path.resolve(binary), args, { cwd, maxBuffer: 1 << 24 }, (error, stdout, stderr) => {
    resolve({ code: error ? error.code : 0, stdout, stderr });
  });
});

async function validator() {
  const { code, stdout, stderr } = await run(here, 'config', 'schema');
  assert.equal(code, 0, stderr);
  // The schema has custom keywords, which a validator ignores.
  return new Ajv2020({ strict: false, allErrors: true }).compile(JSON.parse(stdout));
}

test('the schema accepts every example', async () => {
  const validate = await validator();
  const examples = path.join(here, '../examples');
  let count = 0;
  for (const name of await readdir(examples)) {
    const text = await readFile(path.join(examples, name, 'chappe.toml'), 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    assert.ok(validate(parse(text)), `${name}: ${JSON.stringify(validate.errors)}`);
    count += 1;
  }
  assert.ok(count > 0);
});

const RIGHT = [
  '[realtime.chat]\nlisten = "localhost:8889"\nmode = "default"\n\n[egress]\nproxy = "off"\n',
  '[egress.proxy.urls]\nhttp = "http://proxy:3128"\n',
  '[[gateway.mobile.routes]]\npath = "/client"\nservice = "realtime.chat"\n\n[realtime.chat]\n',
  '[realtime.engine.hubs.chat]\nconnections_max = 5\n',
];
const WRONG = [
  '[realtime]\nmode = "serverles"\n',
  '[realtime]\nprimry_key = "x"\n',
  '[realtime.chat]\nprimry_key = "x"\n',
  '[listen]\ngateway = 8080\n',
  '[edge]\nconnections_max = 0\n',
  '[realtime.Chat]\nmode = "default"\n',
  '[admin.other]\nlisten = "off"\n',
  '[[gateway.routes]]\npth = "/"\n',
  'unknown = 1\n',
];

test('the schema and the binary accept and reject the same configurations', async () => {
  const validate = await validator();
  const folder = await mkdtemp(path.join(tmpdir(), 'chappe-configuration-'));
  for (const [texts, expected] of [[RIGHT, true], [WRONG, false]]) {
    for (const text of texts) {
      assert.equal(validate(parse(text)), expected, `${text}\n${JSON.stringify(validate.errors)}`);
      await writeFile(path.join(folder, 'chappe.toml'), text);
      const { code, stderr } = await run(folder, 'config', 'show', '--no-functions');
      assert.equal(code === 0, expected, `the binary disagrees about\n${text}\n${stderr}`);
    }
  }
  await rm(folder, { recursive: true });
});
