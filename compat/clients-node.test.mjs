// `@microsoft/signalr` in Node.js: every transport with every hub protocol, with an app in serverless mode as the upstream.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import * as signalR from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';

import { clients } from './realtime/javascript.mjs';
import { play, scenarios } from './realtime/scenarios.mjs';
import { Stage } from './realtime/stage.mjs';
import { COMBINATIONS } from './realtime/table.mjs';

const connect = clients({ signalR, MessagePackHubProtocol });
const can = { cancel: true, failUploads: true, uploadAnswers: true, closeReason: true, ordered: true };
let stage;

before(async () => { stage = await Stage.start(); });
after(() => stage?.stop());

for (const { transport, protocol } of COMBINATIONS) {
  const plays = (scenario) => () => play(scenarios[scenario], { connect, call: stage.call, hub: stage.hub(scenario), transport, protocol, can });

  test(`${transport}, ${protocol}: calls are answered, with a value, without one, with an error`, plays('calls'));
  test(`${transport}, ${protocol}: what is sent without a question arrives in order`, plays('sends'));
  if (protocol === 'messagepack') test(`${transport}, ${protocol}: bytes stay bytes`, plays('bytes'));
  test(`${transport}, ${protocol}: streams come down, end, break and are cancelled`, plays('streams'));
  test(`${transport}, ${protocol}: streams go up, beside arguments and with errors`, plays('uploads'));
  test(`${transport}, ${protocol}: the client answers the server`, plays('results'));
  test(`${transport}, ${protocol}: everybody, a user, a group, a connection`, plays('receivers'));
  test(`${transport}, ${protocol}: large messages and many, in order`, plays('bursts'));
  test(`${transport}, ${protocol}: the app hears who comes and goes`, plays('lives'));
  test(`${transport}, ${protocol}: a closed connection says why`, plays('ends'));
}

test('nothing reached the app that the rules of upstreams do not allow', () => assert.deepEqual(stage.upstream.faults, []));
