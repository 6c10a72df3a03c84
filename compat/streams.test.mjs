// HTTP streams of the real library on the built binary: bytes are forwarded as they arrive, of any amount, and nothing hangs.
//
// CHAPPE_STREAM_BYTES is the number of bytes in each direction, 2 GB in `cargo xtask soak`.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { Chappe, EXAMPLE, eventually } from './harness.mjs';

const BYTES = Number(process.env.CHAPPE_STREAM_BYTES ?? 96 * 1024 * 1024);
const MIB = 1024 * 1024;

// Memory of host and worker together, above their memory when idle.
const MEMORY_BYTES_MAX = 64 * MIB;

const SOURCE = `
const { app, HttpResponse } = require('@azure/functions');
app.setup({ enableHttpStream: true });
const http = (name, handler) => app.http(name, { authLevel: 'anonymous', methods: ['GET', 'POST'], handler });
const CHUNK = Buffer.alloc(64 * 1024, 7);
let given = 0;
async function* bytes(left) {
  for (given = 0; left > 0; left -= CHUNK.length) {
    given += Math.min(left, CHUNK.length);
    yield CHUNK.subarray(0, left);
  }
}
http('up', async (request) => {
  let length = 0;
  for await (const chunk of request.body) length += chunk.length;
  return { body: String(length) };
});
http('down', (request) => ({ body: bytes(Number(request.query.get('bytes'))), headers: { 'content-type': 'application/x-bytes' } }));
http('object', (request) => new HttpResponse({ status: 203, body: require('stream').Readable.from(bytes(Number(request.query.get('bytes')))) }));
http('given', () => ({ body: String(given) }));
http('echo', (request) => ({ body: request.body, cookies: [{ name: 'a', value: '1' }, { name: 'b', value: '2' }] }));
http('nothing', () => undefined);
http('throws', () => { throw new Error('on purpose'); });
http('late', () => ({ body: (async function* () { yield 'some bytes'; await new Promise((r) => setTimeout(r, 50)); throw new Error('too late'); })() }));
http('refuses', () => ({ status: 413, body: 'too much' }));
http('hangs', (request, context) => new Promise((resolve) => {
  context.log('it began');
  context.signal.addEventListener('abort', () => { context.log('it was cancelled'); resolve({ status: 204 }); });
}));
app.http('route', { authLevel: 'anonymous', route: 'route/{name}', handler: (request) => ({ body: request.params.name }) });
`;

let folder;
let chappe;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'chappe-app-'));
  await mkdir(path.join(folder, 'src'));
  await writeFile(path.join(folder, 'host.json'), '{ "version": "2.0" }');
  const Values = { FUNCTIONS_WORKER_RUNTIME: 'node', FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '4294967296' };
  await writeFile(path.join(folder, 'local.settings.json'), JSON.stringify({ IsEncrypted: false, Values }));
  await writeFile(path.join(folder, 'package.json'), '{ "name": "streams", "main": "src/*.js" }');
  await writeFile(path.join(folder, 'src/functions.js'), SOURCE);
  await symlink(path.join(EXAMPLE, 'node_modules'), path.join(folder, 'node_modules'));
  chappe = await Chappe.start({ app: folder });
  await eventually(async () => ((await call('given')).status === 200 ? true : undefined), 'an answer');
});
after(async () => {
  await chappe?.stop();
  await rm(folder, { recursive: true, force: true });
});

function call(name, options = {}) {
  return fetch(`${chappe.urls.functions}/api/${name}`, { duplex: 'half', ...options });
}

/** The log lines of functions from now on. */
async function logAfter() {
  const lines = await chappe.functionLog();
  return lines.at(-1)?.number ?? 0;
}

const logged = (after, text) => eventually(
  async () => (await chappe.functionLog(after)).find((line) => line.text.includes(text)),
  `a line of the log with "${text}"`,
);

/** The process ids of host and workers. */
async function processes() {
  const found = [String(chappe.pid)];
  for (const pid of await readdir('/proc')) {
    const status = /^\d+$/.test(pid) ? await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '') : '';
    if (new RegExp(`^PPid:\\s*${chappe.pid}$`, 'm').test(status)) found.push(pid);
  }
  return found;
}

async function memory(key) {
  let bytes = 0;
  for (const pid of await processes()) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    bytes += Number(new RegExp(`^${key}:\\s*(\\d+) kB$`, 'm').exec(status)[1]) * 1024;
  }
  return bytes;
}

/** Runs `use`, during which host and worker may use this much more memory than before. */
async function withinMemory(use) {
  if (process.platform !== 'linux') return use();
  for (const pid of await processes()) await writeFile(`/proc/${pid}/clear_refs`, '5');
  const before = await memory('VmRSS');
  await use();
  const more = (await memory('VmHWM')) - before;
  assert.ok(more <= MEMORY_BYTES_MAX, `host and worker held ${Math.round(more / MIB)} MiB more`);
}

async function length(response) {
  let bytes = 0;
  for await (const chunk of response.body) bytes += chunk.length;
  return bytes;
}

async function* upload(left) {
  const chunk = Buffer.alloc(256 * 1024, 1);
  for (; left > 0; left -= chunk.length) yield chunk.subarray(0, left);
}

test('an upload of any size is streamed', async () => {
  // One run first, so that both are warmed up.
  assert.equal(await (await call('up', { method: 'POST', body: upload(MIB) })).text(), String(MIB));
  await withinMemory(async () => {
    assert.equal(await (await call('up', { method: 'POST', body: upload(BYTES) })).text(), String(BYTES));
  });
});

test('a response of any size is streamed at the rate of its reader', async () => {
  assert.equal(await length(await call(`down?bytes=${MIB}`)), MIB);
  await withinMemory(async () => {
    for (const name of ['down', 'object']) {
      const response = await call(`${name}?bytes=${BYTES}`);
      assert.equal(response.status, name === 'down' ? 200 : 203);
      const reader = response.body.getReader();
      let bytes = (await reader.read()).value.length;
      // The client has stopped reading, so the function is paused long before it has written everything.
      let seen;
      await eventually(async () => {
        const given = await (await call('given')).text();
        const rests = given === seen;
        seen = given;
        return rests ? true : undefined;
      }, 'the function to pause');
      assert.ok(Number(seen) < BYTES / 2, `it gave ${seen} bytes to nobody`);
      for (let read = await reader.read(); !read.done; read = await reader.read()) bytes += read.value.length;
      assert.equal(bytes, BYTES);
    }
  });
});

test('a response begins before the request body is complete', async () => {
  const pieces = [];
  const body = new ReadableStream({ start: (controller) => pieces.push(controller) });
  pieces[0].enqueue(Buffer.from('first'));
  const response = await call('echo', { method: 'POST', body });
  const reader = response.body.getReader();
  assert.equal(String(Buffer.from((await reader.read()).value)), 'first');
  pieces[0].enqueue(Buffer.from('second'));
  assert.equal(String(Buffer.from((await reader.read()).value)), 'second');
  pieces[0].close();
  assert.equal((await reader.read()).done, true);
  assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2']);
});

test('a result that never arrives times out', async () => {
  assert.equal((await call('nothing')).status, 204);
  assert.equal((await call('throws')).status, 500);
  const late = await call('late');
  assert.equal(late.status, 200);
  await assert.rejects(late.text());
  assert.equal(await (await call('route/Ann')).text(), 'Ann');
});

test('an early response to a large upload arrives before the upload ends', async () => {
  const { port } = new URL(chappe.urls.functions);
  const outgoing = request({ port, host: 'localhost', path: '/api/refuses', method: 'POST', headers: { 'content-length': 100 * MIB } });
  outgoing.on('error', () => {});
  outgoing.write(Buffer.alloc(64 * 1024));
  const response = await new Promise((resolve) => outgoing.once('response', resolve));
  assert.equal(response.statusCode, 413);
  let text = '';
  for await (const chunk of response) text += chunk;
  assert.equal(text, 'too much');
  outgoing.destroy();
});

test('a client that disconnects aborts the AbortSignal of its function', async () => {
  const after = await logAfter();
  const cut = new AbortController();
  const asked = call('hangs', { signal: cut.signal });
  await logged(after, 'it began');
  cut.abort();
  await assert.rejects(asked);
  await logged(after, 'it was cancelled');
});
