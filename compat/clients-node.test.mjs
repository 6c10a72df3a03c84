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

  test(`${transport}, ${protocol}: invocations return a value, nothing or an error`, plays('calls'));
  test(`${transport}, ${protocol}: messages sent without awaiting a result arrive in order`, plays('sends'));
  if (protocol === 'messagepack') test(`${transport}, ${protocol}: bytes stay bytes`, plays('bytes'));
  test(`${transport}, ${protocol}: server-to-client streams end, fail and can be cancelled`, plays('streams'));
  test(`${transport}, ${protocol}: client-to-server streams are received, with arguments and errors`, plays('uploads'));
  test(`${transport}, ${protocol}: client results reach the server`, plays('results'));
  test(`${transport}, ${protocol}: messages to all clients, a user, a group and a connection arrive`, plays('receivers'));
  test(`${transport}, ${protocol}: large and numerous messages arrive in order`, plays('bursts'));
  test(`${transport}, ${protocol}: the app is told of connected and disconnected clients`, plays('lives'));
  test(`${transport}, ${protocol}: a closed connection has a reason`, plays('ends'));
}

test('only events that the upstream rules allow reached the app', () => assert.deepEqual(stage.upstream.faults, []));
