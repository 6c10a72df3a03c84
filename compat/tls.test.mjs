// The SignalR client over TLS, on the same port as plain HTTP, with the development authority's certificate.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Chappe, eventually, token } from './harness.mjs';

const clientFile = path.join(path.dirname(fileURLToPath(import.meta.url)), 'tls/client.mjs');
let chappe;

before(async () => { chappe = await Chappe.start(); });
after(() => chappe?.stop());

/** A client in a separate process, and the lines that it prints. */
function startClient(origin, protocol) {
  const url = `${origin}/client/?hub=secure`;
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: chappe.facts.certificateAuthority };
  const child = spawn(process.execPath, [clientFile, url, token({ audience: url }), protocol], {
    env, stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  return { child, lines };
}

for (const service of ['realtime', 'gateway']) {
  for (const protocol of ['json', 'messagepack']) {
    test(`${protocol} over TLS on the port of the ${service}`, async (context) => {
      const origin = chappe.urls[service].replace(/^http:/, 'https:');
      const { child, lines } = startClient(origin, protocol);
      context.after(() => child.kill());
      await eventually(() => (lines.includes('connected') ? true : undefined), 'connecting');
      // Larger than a TLS record, so that the shard has ciphertext left to flush.
      const text = 'x'.repeat(40_000);
      const url = `${chappe.urls.realtime}/api/v1/hubs/secure`;
      const response = await fetch(url, {
        method: 'POST',
        headers: { authorization: `Bearer ${token({ audience: url })}`, 'content-type': 'application/json' },
        body: JSON.stringify({ target: 'news', arguments: [text, 1] }),
      });
      assert.equal(response.status, 202);
      const news = await eventually(() => lines.find((line) => line.startsWith('[')), 'the message');
      assert.deepEqual(JSON.parse(news), [text, 1]);
    });
  }
}
