// `azure-cosmos`, the Python SDK of Cosmos DB, against the built binary: plain and over TLS on one port. The program
// documents/python/documents.py makes all checks in one run and prints a line for each.

import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { checks } from './documents/checks.mjs';
import { COSMOS_KEY, Chappe } from './harness.mjs';

const LIBRARIES = fileURLToPath(new URL('../target/python', import.meta.url));
const PROGRAM = fileURLToPath(new URL('./documents/python/documents.py', import.meta.url));

let chappe;

before(async () => { chappe = await Chappe.start(); });
after(() => chappe?.stop());

/** The failure of each check of a run, by its name. */
async function run(url, more) {
  const env = { ...process.env, PYTHONPATH: LIBRARIES, ...more };
  const child = spawn('python3', [PROGRAM, url, COSMOS_KEY], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  return checks(child, () => chappe.log);
}

for (const transport of ['plain', 'TLS']) {
  describe(transport, () => {
    let passed;

    before(async () => {
      const url = chappe.urls.documents;
      passed = transport === 'TLS'
        ? await run(url.replace(/^http:/, 'https:'), { REQUESTS_CA_BUNDLE: chappe.facts.certificateAuthority })
        : await run(url, {});
    });

    test('an item is created, read, replaced and deleted', () => passed('an item is created, read, replaced and deleted'));
    test('items by their resource ids', () => passed('items by their resource ids'));
    test('batches', () => passed('batches'));
    test('queries, pages and many reads', () => passed('queries, pages and many reads'));
    test('values of different types are unequal', () => passed('values of different types are unequal'));
    test('the throughput of containers and databases', () => passed('the throughput of containers and databases'));
    test('the change feed', () => passed('the change feed'));
  });
}
