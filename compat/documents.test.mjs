// The unmodified Cosmos DB SDK against the built binary, plain and over TLS on one port. The tests themselves are in documents/, where they
// accept any service by its address.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Chappe } from './harness.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
let chappe;

before(async () => { chappe = await Chappe.start(); });
after(() => chappe?.stop());

test('the Cosmos DB SDK works unmodified, plain and over TLS', async (context) => {
  const { documents } = chappe.urls;
  assert.ok(chappe.facts.certificateAuthority, 'the ready line names the development authority');
  const env = {
    ...process.env,
    CHAPPE_DOCUMENTS_URL: documents,
    CHAPPE_DOCUMENTS_TLS_URL: documents.replace(/^http:/, 'https:'),
    NODE_EXTRA_CA_CERTS: chappe.facts.certificateAuthority,
  };
  // Otherwise the inner test runner would consider itself a test file of the outer one, and run nothing.
  delete env.NODE_TEST_CONTEXT;
  const inner = spawn(process.execPath, ['--test', '--test-reporter=spec'], {
    cwd: path.join(here, 'documents'), env, stdio: ['ignore', 'pipe', 'inherit'],
  });
  let report = '';
  inner.stdout.on('data', (chunk) => { report += chunk; });
  const [code] = await once(inner, 'close');
  const [, passed] = report.match(/pass (\d+)/) ?? [];
  context.diagnostic(`${passed} tests passed in documents/`);
  assert.equal(code, 0, `${report}\n${chappe.log}`);
  assert.ok(Number(passed) > 10, `too few tests ran:\n${report}`);
});
