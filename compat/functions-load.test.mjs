// A functions host with little memory under two kinds of load: many large uploads at a time, and very many log lines.
//
// `cargo xtask soak uploads` and `soak logs` run these with CHAPPE_UPLOADS and CHAPPE_UPLOAD_BYTES (40 of 100 MB), and with CHAPPE_LOG_LINES
// (1,000,000).

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { Chappe, EXAMPLE, eventually } from './harness.mjs';

const MIB = 1024 * 1024;
const UPLOADS = Number(process.env.CHAPPE_UPLOADS ?? 8);
const UPLOAD_BYTES = Number(process.env.CHAPPE_UPLOAD_BYTES ?? 8 * MIB);
const LOG_LINES = Number(process.env.CHAPPE_LOG_LINES ?? 20_000);

// The whole host, with the binary's own pages.
const HOST_MEMORY_MAX = 256 * MIB;
// What the host's memory may grow by while log lines pass.
const LOG_MEMORY_MAX = 64 * MIB;

const SOURCE = `
const { app } = require('@azure/functions');
const http = (name, methods, handler) => app.http(name, { authLevel: 'anonymous', methods, handler });
http('upload', ['POST'], async (request) => ({ body: String((await request.arrayBuffer()).byteLength) }));
http('logs', ['GET'], async (request, context) => {
  const count = Number(request.query.get('count'));
  for (let number = 0; number < count; number += 1) {
    context.log('line ' + number);
    // Other invocations run meanwhile.
    if (number % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return { body: String(count) };
});
http('ping', ['GET'], () => ({ body: 'pong' }));
`;

let folder;
let chappe;
let printedLines = 0;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'chappe-load-'));
  await mkdir(path.join(folder, 'src'));
  await writeFile(path.join(folder, 'host.json'), JSON.stringify({ version: '2.0', functionTimeout: '-1' }));
  const Values = { FUNCTIONS_WORKER_RUNTIME: 'node', FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: String(2 ** 30) };
  await writeFile(path.join(folder, 'local.settings.json'), JSON.stringify({ IsEncrypted: false, Values }));
  await writeFile(path.join(folder, 'package.json'), '{ "name": "load", "main": "src/*.js" }');
  await writeFile(path.join(folder, 'src/functions.js'), SOURCE);
  await symlink(path.join(EXAMPLE, 'node_modules'), path.join(folder, 'node_modules'));
  chappe = await Chappe.start({ app: folder, settings: ['bodies.wait_ms=600000', 'bodies.disk_bytes_max=8589934592'] });
  await eventually(async () => ((await fetch(url('ping'))).status === 200 ? true : undefined), 'an answer');
});
after(async () => {
  await chappe?.stop();
  await rm(folder, { recursive: true, force: true });
});

const url = (name) => `${chappe.urls.functions}/api/${name}`;

/** Memory of the host alone: its workers are processes of their own. */
async function hostMemory(key = 'VmRSS') {
  const status = await readFile(`/proc/${chappe.pid}/status`, 'utf8');
  return Number(new RegExp(`^${key}:\\s*(\\d+) kB`, 'm').exec(status)[1]) * 1024;
}

/** Measures until `done` is settled; the most that was seen. */
async function mostMemory(done) {
  let most = 0;
  let isDone = false;
  done.then(() => { isDone = true; }, () => { isDone = true; });
  while (!isDone) {
    most = Math.max(most, await hostMemory());
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return most;
}

/** Uploads bytes at the pace of the host, without holding them. */
function upload(bytes) {
  return new Promise((resolve, reject) => {
    const chunk = Buffer.alloc(64 * 1024, 1);
    const outgoing = request(url('upload'), { method: 'POST', headers: { 'content-length': bytes }, agent: false });
    outgoing.on('error', reject);
    outgoing.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (data) => { text += data; }).on('end', () => resolve({ status: response.statusCode, text }));
    });
    let left = bytes;
    const push = () => {
      while (left > 0) {
        const part = chunk.subarray(0, Math.min(left, chunk.length));
        left -= part.length;
        if (!outgoing.write(part)) return outgoing.once('drain', push);
      }
      return outgoing.end();
    };
    push();
  });
}

test('concurrent large uploads all succeed in 256 MB of host memory', async () => {
  const all = Promise.all(Array.from({ length: UPLOADS }, () => upload(UPLOAD_BYTES)));
  const most = await mostMemory(all);
  for (const response of await all) assert.deepEqual(response, { status: 200, text: String(UPLOAD_BYTES) });
  console.log(`${UPLOADS} uploads of ${UPLOAD_BYTES} bytes: ${Math.round(most / MIB)} MiB of host memory at most`);
  assert.ok(most <= HOST_MEMORY_MAX, `${most} bytes of host memory`);
});

test('very many log lines lose none, block no other invocation and do not grow the host', async () => {
  const before = await hostMemory();
  const seen = new Set();
  const first = chappe.printed.length;
  let worstMs = 0;
  const calls = fetch(`${url('logs')}?count=${LOG_LINES}`).then((response) => response.text());
  let isDone = false;
  const pinging = (async () => {
    while (!isDone) {
      const started = performance.now();
      assert.equal(await (await fetch(url('ping'))).text(), 'pong');
      worstMs = Math.max(worstMs, performance.now() - started);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  })();
  const most = await mostMemory(calls);
  assert.equal(await calls, String(LOG_LINES));
  isDone = true;
  await pinging;
  // The lines on the console: what the host could not keep in memory is there.
  await eventually(() => {
    for (; printedLines < chappe.printed.length - first; printedLines += 1) {
      const number = /\bline (\d+)\b/.exec(chappe.printed[first + printedLines])?.[1];
      if (number) seen.add(Number(number));
    }
    return seen.size === LOG_LINES ? true : undefined;
  }, `every line (${LOG_LINES})`);
  console.log(`${LOG_LINES} lines: ${Math.round((most - before) / MIB)} MiB more host memory, other calls waited ${Math.round(worstMs)} ms at most`);
  assert.ok(most - before <= LOG_MEMORY_MAX, `${most - before} bytes more`);
  assert.ok(worstMs < 2000, `a call beside the lines waited ${worstMs} ms`);
});
