// The browser builds of `@microsoft/signalr` and of the old `@aspnet/signalr` 1.0 in Chromium: every transport with every hub protocol,
// from a page of another origin. The new client reaches the service through an app's negotiate function.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { chromium } from 'playwright-core';

import { CHROMIUM, FLAGS } from './realtime/chromium.mjs';
import { Stage } from './realtime/stage.mjs';
import { COMBINATIONS } from './realtime/table.mjs';

const skip = existsSync(CHROMIUM) ? false : `not run: there is no Chromium at ${CHROMIUM}`;
const AGES = {
  new: { via: 'app', can: { failUploads: true, uploadAnswers: true, closeReason: true } },
  old: { via: 'service', can: { closeReason: true } },
};

let stage;
let browser;
const pages = {};

before(async () => {
  if (skip) return;
  stage = await Stage.start();
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  for (const age of Object.keys(AGES)) {
    const page = await (await browser.newContext()).newPage();
    await page.exposeFunction('call', (name, args) => stage.call(name, ...args));
    await page.goto(`${stage.upstream.url}/${age}`);
    await page.waitForFunction(() => window.run);
    pages[age] = page;
  }
});

after(async () => {
  await browser?.close();
  await stage?.stop();
});

for (const [age, { via, can }] of Object.entries(AGES)) {
  for (const { transport, protocol } of COMBINATIONS) {
    const plays = (scenario) => () => {
      // The old MessagePack protocol has no message that cancels a stream.
      const cancel = age === 'new' || protocol === 'json';
      // On the transports with separate requests it does not wait for one before it sends the next.
      const ordered = age === 'new' || transport === 'WebSockets';
      const setting = { hub: stage.hub(scenario), transport, protocol, via, can: { ...can, cancel, ordered } };
      return pages[age].evaluate(([name, given]) => window.run(name, given), [scenario, setting]);
    };

    test(`${age}, ${transport}, ${protocol}: invocations return a value, nothing or an error`, { skip }, plays('calls'));
    test(`${age}, ${transport}, ${protocol}: messages sent without awaiting a result arrive in order`, { skip }, plays('sends'));
    if (protocol === 'messagepack') test(`${age}, ${transport}, ${protocol}: bytes stay bytes`, { skip }, plays('bytes'));
    test(`${age}, ${transport}, ${protocol}: server-to-client streams end, fail and can be cancelled`, { skip }, plays('streams'));
    test(`${age}, ${transport}, ${protocol}: messages to all clients, a user, a group and a connection arrive`, { skip }, plays('receivers'));
    test(`${age}, ${transport}, ${protocol}: large and numerous messages arrive in order`, { skip }, plays('bursts'));
    test(`${age}, ${transport}, ${protocol}: the app is told of connected and disconnected clients`, { skip }, plays('lives'));
    test(`${age}, ${transport}, ${protocol}: a closed connection has a reason`, { skip }, plays('ends'));
    if (age === 'old') continue; // It supports neither uploaded streams nor client results.
    test(`${age}, ${transport}, ${protocol}: client-to-server streams are received, with arguments and errors`, { skip }, plays('uploads'));
    test(`${age}, ${transport}, ${protocol}: client results reach the server`, { skip }, plays('results'));
  }
}

// Without the CORS headers the page would get only a network error.
for (const [version, scheme] of [['HTTP-1', 'http'], ['HTTP-2', 'https']]) {
  test(`a page of another origin can read the 431 response, over ${version}`, { skip }, async (context) => {
    const other = await browser.newContext({ ignoreHTTPSErrors: true });
    context.after(() => other.close());
    const page = await other.newPage();
    await page.goto(`${stage.upstream.url}/new`);
    const service = stage.chappe.urls.realtime.replace(/^http:/, `${scheme}:`);
    const refused = await page.evaluate(async (url) => {
      const answer = await fetch(url);
      return { status: answer.status, text: await answer.text() };
    }, `${service}/client/?hub=chat&filler=${'a'.repeat(60_000)}`);
    assert.equal(refused.status, 431);
    assert.equal(JSON.parse(refused.text).error.code, 'edge-head-too-large');
  });
}

test('only events that the upstream rules allow reached the app', { skip }, () => assert.deepEqual(stage.upstream.faults, []));
