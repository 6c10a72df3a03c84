// `com.azure:azure-cosmos`, the Java SDK of Cosmos DB, against the built binary: plain and over TLS on one port. The program
// documents/java/Documents.java makes all checks in one run and prints a line for each.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { checks } from './documents/checks.mjs';
import { COSMOS_KEY, Chappe } from './harness.mjs';

const LIBRARIES = fileURLToPath(new URL('../target/java-documents/*', import.meta.url));
const PROGRAM = fileURLToPath(new URL('./documents/java/Documents.java', import.meta.url));
const skip = spawnSync('java', ['-version']).status === 0 ? false : 'not run: there is no Java';

let chappe;

before(async () => {
  if (!skip) chappe = await Chappe.start();
});
after(() => chappe?.stop());

/** Options of the virtual machine that trusts the development authority. */
function trusting() {
  const store = path.join(chappe.dataDir, 'authority.p12');
  const made = spawnSync('keytool', [
    '-importcert', '-noprompt', '-alias', 'chappe', '-file', chappe.facts.certificateAuthority,
    '-keystore', store, '-storetype', 'PKCS12', '-storepass', 'changeit',
  ]);
  assert.equal(made.status, 0, String(made.stderr));
  return [`-Djavax.net.ssl.trustStore=${store}`, '-Djavax.net.ssl.trustStorePassword=changeit'];
}

/** The failure of each check of a run, by its name. */
async function run(url, options) {
  // The virtual machine compiles the program itself; a second compiler would only delay it.
  const child = spawn('java', [
    '-XX:TieredStopAtLevel=1', '-Xshare:auto', '-Dorg.slf4j.simpleLogger.defaultLogLevel=error', ...options,
    '-cp', LIBRARIES, PROGRAM, url, COSMOS_KEY,
  ], { stdio: ['ignore', 'pipe', 'pipe'] });
  return checks(child, () => chappe.log);
}

for (const transport of ['plain', 'TLS']) {
  describe(transport, { skip }, () => {
    let passed;

    before(async () => {
      if (skip) return;
      const url = chappe.urls.documents;
      passed = transport === 'TLS'
        ? await run(url.replace(/^http:/, 'https:'), trusting())
        : await run(url, ['-DCOSMOS.HTTP_CONNECTION_WITHOUT_TLS_ALLOWED=true']);
    });

    test('an item is created, read, replaced and deleted', () => passed('an item is created, read, replaced and deleted'));
    test('batches and patches', () => passed('batches and patches'));
    test('queries, pages and many reads', () => passed('queries, pages and many reads'));
    test('values of different types are unequal', () => passed('values of different types are unequal'));
    test('the throughput of containers and databases', () => passed('the throughput of containers and databases'));
    test('direct mode is rejected with the advice to use gateway mode', () => passed('direct mode is rejected with the advice to use gateway mode'));
    test('the change feed by pull', () => passed('the change feed by pull'));
    test('the change feed processor, handleChanges', () => passed('the change feed processor, handleChanges'));
    test('the change feed processor, handleLatestVersionChanges', () => passed('the change feed processor, handleLatestVersionChanges'));
  });
}
