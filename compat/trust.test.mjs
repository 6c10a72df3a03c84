// The output of `chappe trust` is what runtimes need: each of its commands is run unchanged, and a client of that platform then connects
// over TLS to a service that it did not trust before. .NET on Linux uses the certificate folders of OpenSSL, which are tested with
// `openssl`.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Chappe } from './harness.mjs';

const BINARY = process.env.CHAPPE_BIN ?? fileURLToPath(new URL('../target/debug/chappe', import.meta.url));
const LIBRARIES = fileURLToPath(new URL('../target/python', import.meta.url));

let chappe;
let folder;
let printed;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'chappe-trust-'));
  chappe = await Chappe.start();
  const told = spawnSync(BINARY, ['trust', '--data-dir', chappe.facts.dataDir], { encoding: 'utf8' });
  assert.equal(told.status, 0, told.stderr);
  printed = told.stdout;
});
after(async () => {
  await chappe?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
});

/** The command below the heading that begins with this text. */
function command(heading, start) {
  const section = printed.split('\n\n').find((text) => text.startsWith(heading));
  const line = section?.split('\n').find((text) => text.startsWith(`  ${start}`));
  assert.ok(line, `no ${start} under ${heading}:\n${printed}`);
  return line.trim();
}

/** Runs shell lines; variables that would establish trust by themselves are unset. */
async function shell(...lines) {
  const env = { ...process.env, PYTHONPATH: LIBRARIES };
  for (const name of ['SSL_CERT_FILE', 'SSL_CERT_DIR', 'REQUESTS_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS', 'NODE_TEST_CONTEXT']) {
    delete env[name];
  }
  const child = spawn('sh', ['-c', ['set -e', ...lines].join('\n')], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { text += chunk; });
  const [code] = await once(child, 'close');
  return { code, text };
}

/** A client fails without the lines, and succeeds with them. */
async function trusts(client, ...lines) {
  const without = await shell(client);
  assert.notEqual(without.code, 0, `it was trusted before: ${without.text}`);
  const trusting = await shell(...lines, client);
  assert.equal(trusting.code, 0, trusting.text);
}

const url = () => `${chappe.facts.httpsUrls.gateway}/healthz`;
const missing = (program, ...version) =>
  (spawnSync(program, version).status === 0 ? false : `not run: there is no ${program}`);

describe('chappe trust', () => {
  test('names the certificate of the running process', () => {
    assert.ok(printed.includes(`\n  ${chappe.facts.certificateAuthority}\n`), printed);
  });

  test('Node.js', async () => {
    const client = `node -e 'fetch("${url()}").then((it) => process.exit(it.ok ? 0 : 1))'`;
    await trusts(client, command('Node.js', 'export NODE_EXTRA_CA_CERTS='));
  });

  test('Python, ssl', async () => {
    const client = `python3 -c 'import urllib.request; urllib.request.urlopen("${url()}")'`;
    await trusts(client, command('Python', 'export SSL_CERT_FILE='));
  });

  test('Python, requests', async () => {
    const client = `python3 -c 'import requests; requests.get("${url()}").raise_for_status()'`;
    await trusts(client, command('Python', 'export REQUESTS_CA_BUNDLE='));
  });

  test('OpenSSL, which .NET asks on Linux', { skip: missing('openssl', 'version') }, async () => {
    const { host } = new URL(url());
    const client = `openssl s_client -connect ${host} -verify_return_error </dev/null`;
    await trusts(client, command('.NET on Linux', 'export SSL_CERT_FILE='));
  });

  test('curl', { skip: missing('curl', '--version') }, async () => {
    const line = command('curl', 'curl ').replace(/https:\S+/, url());
    const without = await shell(line.replace(/--cacert \S+/, ''));
    assert.notEqual(without.code, 0, without.text);
    assert.deepEqual((await shell(`${line} --fail --silent --output /dev/null`)).code, 0);
  });

  test('Java', { skip: missing('java', '-version') }, async () => {
    await writeFile(path.join(folder, 'Get.java'), `
      public class Get {
          public static void main(String[] arguments) throws Exception {
              var connection = (java.net.HttpURLConnection) new java.net.URL(arguments[0]).openConnection();
              System.exit(connection.getResponseCode() == 200 ? 0 : 1);
          }
      }`);
    const run = command('Java', 'java ').replace('...', `Get.java ${url()}`);
    const without = await shell(`java Get.java ${url()}`);
    assert.notEqual(without.code, 0, without.text);
    const trusting = await shell(command('Java', 'keytool '), run);
    assert.equal(trusting.code, 0, trusting.text);
  });
});
