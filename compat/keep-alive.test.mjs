// Node's own HTTP client with a pool of one connection, on every port: a response that is sent before the request's body was read must
// leave the connection usable for the next request, or announce that it will be closed.

import assert from 'node:assert/strict';
import http from 'node:http';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Chappe, token } from './harness.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const ROUNDS = 20;

/** The longest body whose unread rest is read and discarded. */
const REST_BYTES_MAX = 256 * 1024;

let chappe;

before(async () => { chappe = await Chappe.start({ app: path.join(here, '../examples/live-documents') }); });
after(() => chappe?.stop());

/** Sends a request; its status, and whether the connection was used before. */
function send(agent, url, { method, headers = {}, body }) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { agent, method, headers }, (response) => {
      response.resume();
      response.on('end', () => resolve({ status: response.statusCode, reused: request.reusedSocket }));
      response.on('error', reject);
    });
    // A response may arrive while the body is being sent, and the connection be closed with it: that is not a failed request.
    request.on('error', (cause) => (request.res?.complete ? undefined : reject(cause)));
    request.end(body);
  });
}

/** A request to each port that is answered before its body is read: rejected, and accepted. */
function unread() {
  const { gateway, functions, realtime, documents } = chappe.urls;
  const audience = 'http://localhost/client/?hub=chat';
  return {
    'gateway, no route': [`${gateway}/chappe/nothing`, 404],
    'functions, no function': [`${functions}/api/nothing`, 404],
    'realtime, no token': [`${realtime}/api/v1/hubs/chat`, 401],
    'realtime, negotiate': [`${realtime}/client/negotiate?hub=chat`, 200, { authorization: `Bearer ${token({ audience })}` }],
    'documents, no key': [`${documents}/dbs/none/colls/none/docs`, 401],
  };
}

test('a pooled connection stays open after responses sent before the body was read', async () => {
  for (const [name, [url, expected, headers]] of Object.entries(unread())) {
    for (const length of [100, 3_000, 70_000, REST_BYTES_MAX]) {
      for (const chunked of [false, true]) {
        const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
        const fields = { ...headers, ...(chunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': length }) };
        let reused = 0;
        for (let round = 0; round < ROUNDS; round += 1) {
          const what = `${name}, ${length} bytes${chunked ? ', chunked' : ''}, round ${round}`;
          const answer = await send(agent, url, { method: 'POST', headers: fields, body: Buffer.alloc(length, 'x') })
            .catch((cause) => assert.fail(`${what}: ${cause.message}\n${chappe.log}`));
          assert.equal(answer.status, expected, what);
          if (answer.reused) reused += 1;
        }
        // A body of known length is always read to its end; the end of a chunked body may come too late.
        if (!chunked) assert.equal(reused, ROUNDS - 1, `${name}, ${length} bytes: the connection is used again`);
        agent.destroy();
      }
    }
  }
});

test('after a long unread body the response has Connection: close', async () => {
  for (const [name, [url, expected, headers]] of Object.entries(unread())) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (let round = 0; round < ROUNDS; round += 1) {
      const what = `${name}, round ${round}`;
      const answer = await send(agent, url, { method: 'POST', headers, body: Buffer.alloc(4 * REST_BYTES_MAX, 'x') })
        .catch((cause) => assert.fail(`${what}: ${cause.message}\n${chappe.log}`));
      assert.equal(answer.status, expected, what);
    }
    agent.destroy();
  }
});
