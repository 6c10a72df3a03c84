// The upstreams in docs/upstreams.md, extracted from there, with the service and the official client.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';

import * as signalR from '@microsoft/signalr';

import { Chappe, SIGNALR_KEY, eventually, freePort, token } from './harness.mjs';
import { within } from './realtime/waiting.mjs';

const EXAMPLES = [
  { language: 'js', file: 'upstream.mjs', program: process.execPath },
  { language: 'python', file: 'upstream.py', program: 'python3' },
];

/** The example for a language, as in the document. */
async function example({ language, file }) {
  const text = await readFile(new URL('../docs/upstreams.md', import.meta.url), 'utf8');
  const blocks = [...text.matchAll(/^```(\w+)\n(.*?)^```$/gms)];
  const found = blocks.find(([, name, code]) => name === language && code.includes(file));
  assert.ok(found, `docs/upstreams.md has an example ${file}`);
  return found[2];
}

async function start(one) {
  const folder = await mkdtemp(path.join(tmpdir(), 'chappe-upstream-'));
  const file = path.join(folder, one.file);
  await writeFile(file, await example(one));
  const port = await freePort();
  const child = spawn(one.program, [file, String(port)], {
    env: { ...process.env, SIGNALR_KEY },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said = [];
  const lines = createInterface({ input: child.stdout });
  const listening = new Promise((resolve) => lines.on('line', (line) => (said.push(line), line === 'listening' && resolve())));
  await within(30_000, listening, () => `${one.file} does not listen`);
  const stop = async () => {
    child.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
  };
  return { said, stop, url: `http://localhost:${port}/` };
}

for (const one of EXAMPLES) {
  const { language } = one;
  test(`the example in ${language} answers calls, streams and uploads`, async () => {
    const upstream = await start(one);
    const chappe = await Chappe.start({ settings: [`realtime.upstream.templates=[{url_template="${upstream.url}"}]`] });
    try {
      const service = `${chappe.urls.realtime}/client/?hub=chat`;
      const accessToken = token({ audience: service, claims: { nameid: 'ada' } });
      const connection = new signalR.HubConnectionBuilder()
        .withUrl(service, { accessTokenFactory: () => accessToken })
        .configureLogging(signalR.LogLevel.None)
        .build();
      await connection.start();
      assert.equal(await connection.invoke('add', 1, 2), 3);
      const items = [];
      await new Promise((complete, error) => {
        connection.stream('count', 5).subscribe({ next: (item) => items.push(item), complete, error });
      });
      assert.deepEqual(items, [1, 2, 3, 4, 5]);
      const numbers = new signalR.Subject();
      const sum = connection.invoke('sum', numbers);
      for (const number of [10, 20, 30]) numbers.next(number);
      numbers.complete();
      assert.equal(await sum, 60);
      await assert.rejects(connection.invoke('nothing'), /status code 404/);
      await connection.stop();
      await eventually(async () => upstream.said.find((line) => line.startsWith('disconnected')), 'the end of the client');
      assert.match(upstream.said[1], /^connected \S+ ada$/);
    } finally {
      await chappe.stop();
      await upstream.stop();
    }
  });
}
