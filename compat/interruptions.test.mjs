// Interrupted connections, with and without stateful reconnect; servers that are killed, drained and restarted; logins that expire.
// `@microsoft/signalr` in Node.js, and in Chromium for the tests in which the browser's own WebSocket makes a difference.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';

import * as signalR from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';
import { chromium } from 'playwright-core';

import { CHROMIUM, FLAGS } from './realtime/chromium.mjs';
import { interruptions } from './realtime/interruptions.mjs';
import { clients } from './realtime/javascript.mjs';
import { play } from './realtime/scenarios.mjs';
import { Stage } from './realtime/stage.mjs';
import { COMBINATIONS } from './realtime/table.mjs';
import { eventually } from './realtime/waiting.mjs';

const connect = clients({ signalR, MessagePackHubProtocol });
const noBrowser = existsSync(CHROMIUM) ? false : `not run: there is no Chromium at ${CHROMIUM}`;

let stage;
let browser;
let page;

before(async () => {
  stage = await Stage.start({ settings: ['realtime.engine.disconnect_timeout_ms=4000', 'realtime.token_leeway_s=0'] });
  if (noBrowser) return;
  browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  page = await (await browser.newContext()).newPage();
  await page.exposeFunction('call', (name, args) => stage.call(name, ...args));
  await page.goto(`${stage.upstream.url}/new`);
  await page.waitForFunction(() => window.run);
});

after(async () => {
  await browser?.close();
  await stage?.stop();
});

/** How a scenario is run in each environment. */
const PLACES = {
  node: {
    skip: false,
    plays: (scenario, how) => () => play(interruptions[scenario], { connect, call: stage.call, hub: stage.hub(scenario), ...how }),
  },
  chromium: {
    skip: noBrowser,
    plays: (scenario, how) => () => page.evaluate(([name, given]) => window.run(name, given), [scenario, { hub: stage.hub(scenario), ...how }]),
  },
};

for (const [place, { skip, plays }] of Object.entries(PLACES)) {
  for (const protocol of ['json', 'messagepack']) {
    const how = { transport: 'WebSockets', protocol };
    test(`${place}, ${protocol}: stateful reconnect loses and duplicates no message in either direction while the connection breaks repeatedly`,
      { skip }, plays('statefulFlow', how));
    test(`${place}, ${protocol}: a reconnect of a stateful client replaces its half-open socket`, { skip }, plays('statefulHalfOpen', how));
    test(`${place}, ${protocol}: a stateful client counts messages sent with the handshake response`, { skip }, plays('statefulFromTheStart', how));
    test(`${place}, ${protocol}: pending calls, streams and results survive a broken connection`, { skip }, plays('statefulUnderWay', how));
    test(`${place}, ${protocol}: a stateful client that the service closes stays closed`, { skip }, plays('statefulEnds', how));
    if (place === 'chromium') continue; // From here on, the scenarios are the same in every environment.
    test(`${place}, ${protocol}: a stateful client that reconnects too late gets a new connection`, plays('statefulGone', how));
  }
}

for (const { transport, protocol } of COMBINATIONS) {
  test(`${transport}, ${protocol}: a cut connection is replaced by a new one`, PLACES.node.plays('cut', { transport, protocol }));
}

/** One client for each combination of transport and protocol, all of the same user. They are closed at the end of the test. */
async function everyClient(context, hub, { access = stage.access({ hub, user: 'ada' }), kinds = COMBINATIONS } = {}) {
  const all = await Promise.all(kinds.map((how) => connect({ ...access, ...how, retry: true })));
  context.after(() => Promise.allSettled(all.map((client) => client.stop())));
  return all;
}

/** And one client with stateful reconnect. */
const AND_STATEFUL = [...COMBINATIONS, { transport: 'WebSockets', protocol: 'json', stateful: true }];

const become = (all, state) => Promise.all(all.map((client) => client.life.find(({ what }) => what === state, state)));

async function everyoneHears(all, hub, text) {
  const { status } = await stage.on_rest('POST', `/api/v1/hubs/${hub}/users/ada`, { target: 'news', arguments: ['said', text] });
  assert.equal(status, 202);
  await Promise.all(all.map((client) => client.messages.find((_, heard) => heard === text, text)));
}

test('clients of every transport and protocol reconnect after kill -9 and a restart', async (context) => {
  const hub = stage.hub('killed');
  const all = await everyClient(context, hub, { kinds: AND_STATEFUL });
  await everyoneHears(all, hub, 'before');
  await stage.chappe.kill();
  await stage.chappe.run();
  await become(all, 'reconnected');
  await everyoneHears(all, hub, 'after');
  assert.equal(await all[0].invoke('add', 1, 2), 3);
});

test('clients of every transport and protocol reconnect when the server drains', async (context) => {
  const hub = stage.hub('drained');
  const all = await everyClient(context, hub, { kinds: AND_STATEFUL });
  const ended = stage.chappe.drain();
  await become(all, 'reconnecting');
  assert.equal(await ended, 0, stage.chappe.log);
  await stage.chappe.run();
  await become(all, 'reconnected');
  await everyoneHears(all, hub, 'after');
});

test('the end of a login closes connections of every transport and protocol and allows them to reconnect', async (context) => {
  const hub = stage.hub('expired');
  const login = () => {
    const soon = Math.floor(Date.now() / 1000) + 2;
    return stage.access({ hub, user: 'ada', claims: { 'asrs.s.coae': 'True', 'asrs.s.aeo': String(soon) } });
  };
  const all = await everyClient(context, hub, { access: { url: login().url, accessToken: () => login().accessToken }, kinds: AND_STATEFUL });
  await become(all, 'reconnecting');
  await become(all, 'reconnected');
});

for (const { transport, protocol } of COMBINATIONS.filter(({ transport: name }) => name !== 'WebSockets')) {
  test(`${transport}, ${protocol}: every request carries its token, and an expired one is rejected`, async (context) => {
    const { url, accessToken } = stage.access({ hub: stage.hub('again'), user: 'ada', lifetimeSeconds: 2 });
    const client = await connect({ url, accessToken, transport, protocol });
    context.after(() => client.stop());
    assert.equal(await client.invoke('add', 1, 2), 3);
    const refused = await eventually(() => client.invoke('echo', 'again').then(() => undefined, (error) => error), 'the end of the login');
    // Either the request of the call was refused, or an earlier poll, which ends the connection.
    if (!String(refused).includes('401')) assert.match(await client.closed(), /401/);
  });
}

for (const protocol of ['json', 'messagepack']) {
  test(`${protocol}: a WebSocket without negotiation`, async (context) => {
    const hub = stage.hub('straight');
    const client = await connect({ ...stage.access({ hub, user: 'ada' }), transport: 'WebSockets', protocol, skipNegotiation: true });
    context.after(() => client.stop());
    assert.equal((await client.invoke('whoAmI')).user, 'ada');
    await everyoneHears([client], hub, 'straight');
  });
}

test('only events that the upstream rules allow reached the app', () => assert.deepEqual(stage.upstream.faults, []));
