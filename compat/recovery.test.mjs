// What an unmodified client can do without a backend: follow a hub or a group and receive what it missed, also after `kill -9`; join and
// send to groups that its token allows. `@microsoft/signalr`, every transport with every hub protocol.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import * as signalR from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';

import { clients } from './realtime/javascript.mjs';
import { Stage } from './realtime/stage.mjs';
import { COMBINATIONS } from './realtime/table.mjs';

const KEPT = 40;
const ROLES = ['chappe.joinLeaveGroup.lobby', 'chappe.sendToGroup.lobby'];
const connect = clients({ signalR, MessagePackHubProtocol });
let stage;

before(async () => {
  stage = await Stage.start({
    settings: [`realtime.history=[{hub="*", messages=${KEPT}}, {hub="*", group="lobby", messages=${KEPT}}]`],
  });
});
after(() => stage?.stop());

/** A client with the role for the group `lobby`, through its own proxy. It is closed at the end of the test. */
async function join(context, hub, { role = ROLES, ...how }) {
  const base = await stage.on_proxy({});
  const client = await connect({ ...stage.access({ hub, base, user: 'ada', claims: { role } }), ...how, retry: true });
  context.after(() => client.stop());
  return { client, away: () => stage.on_cut(base, 'gone'), back: () => stage.on_cut(base, 'back') };
}

/** Sends the numbers of a range to the lobby or, without a group, to the hub. */
async function publish(hub, group, first, end) {
  const path = group ? `/api/v1/hubs/${hub}/groups/${group}` : `/api/v1/hubs/${hub}`;
  for (let number = first; number < end; number += 1) {
    const { status } = await stage.on_rest('POST', path, { target: 'news', arguments: [group ?? 'hub', number] });
    assert.equal(status, 202);
  }
}

const heard = (client, from) => client.messages.all.filter(([kind]) => kind === from).map(([, number]) => number);
const range = (first, end) => Array.from({ length: end - first }, (_, index) => first + index);

/** Waits for a message and for the position that follows it; returns the position. */
async function position(client, group, count) {
  await client.positions.until(() => client.positions.all.filter(([of]) => of === group).length >= count, `${count} positions of ${group}`);
  return client.positions.all.filter(([of]) => of === group).at(-1)[1];
}

for (const how of COMBINATIONS) {
  const { transport, protocol } = how;
  test(`${transport}, ${protocol}: missed messages are recovered in order, also after kill -9`, async (context) => {
    const hub = stage.hub('followed');
    const { client, away, back } = await join(context, hub, how);
    const places = [[null, 'hub'], ['lobby', 'lobby']];
    for (const [group] of places) assert.equal((await client.invoke('chappe.follow', group)).gap, false);
    for (const [group] of places) await publish(hub, group, 0, 5);
    const positions = [await position(client, null, 5), await position(client, 'lobby', 5)];
    await away();
    for (const [group] of places) await publish(hub, group, 5, 10);
    await stage.chappe.kill();
    await stage.chappe.run();
    for (const [group] of places) await publish(hub, group, 10, 15);
    await back();
    await client.life.find(({ what }) => what === 'reconnected', 'the new connection');
    for (const [index, [group, from]] of places.entries()) {
      const { gap, messages } = await client.invoke('chappe.follow', group, positions[index]);
      assert.deepEqual([gap, messages], [false, 10]);
      await publish(hub, group, 15, 20);
      await client.messages.find((kind, number) => kind === from && number === 19);
      assert.deepEqual(heard(client, from), range(0, 20), `what it heard from ${from}`);
    }
  });
}

test('a client that missed more than the history holds gets the rest and a gap notice', async (context) => {
  const hub = stage.hub('gap');
  const { client, away, back } = await join(context, hub, COMBINATIONS[0]);
  await client.invoke('chappe.follow', null);
  await publish(hub, undefined, 0, 1);
  const last = await position(client, null, 1);
  await away();
  await publish(hub, undefined, 1, KEPT + 11);
  await back();
  await client.life.find(({ what }) => what === 'reconnected', 'the new connection');
  const { gap, messages } = await client.invoke('chappe.follow', null, last);
  assert.deepEqual([gap, messages], [true, KEPT]);
  await client.messages.find((_, number) => number === KEPT + 10);
  assert.deepEqual(heard(client, 'hub'), [0, ...range(11, KEPT + 11)]);
});

for (const how of COMBINATIONS) {
  const { transport, protocol } = how;
  test(`${transport}, ${protocol}: clients whose token allows it join and send to groups without an app server`, async (context) => {
    const hub = stage.hub('lobby');
    const { client: ada } = await join(context, hub, how);
    const { client: ben } = await join(context, hub, { ...how, role: ROLES.slice(0, 1) });
    const { client: eve } = await join(context, hub, { ...how, role: [] });
    for (const one of [ada, ben]) await one.run('chappe.joinGroup', 'lobby');
    await ada.run('chappe.sendToGroup', 'lobby', 'news', 'lobby', 1);
    await ben.messages.find((kind, number) => kind === 'lobby' && number === 1);
    await assert.rejects(ben.invoke('chappe.sendToGroup', 'lobby', 'news', 'lobby', 2), /chappe.sendToGroup.lobby/);
    await assert.rejects(ada.invoke('chappe.joinGroup', 'elsewhere'), /chappe.joinLeaveGroup.elsewhere/);
    await assert.rejects(eve.invoke('chappe.joinGroup', 'lobby'), /no role/);
    await assert.rejects(eve.invoke('chappe.sendToGroup', 'lobby', 'news', 'lobby', 3), /no role/);
    await ben.run('chappe.leaveGroup', 'lobby');
    await ada.run('chappe.sendToGroup', 'lobby', 'news', 'lobby', 4);
    await ada.messages.find((kind, number) => kind === 'lobby' && number === 4);
    await publish(hub, undefined, 0, 1);
    for (const one of [ben, eve]) await one.messages.find((kind) => kind === 'hub');
    assert.deepEqual([heard(ben, 'lobby'), heard(eve, 'lobby')], [[1], []]);
  });
}

test('none of these requests reached the app', () => {
  assert.deepEqual(stage.upstream.seen.all.filter(({ category }) => category === 'messages'), []);
  assert.deepEqual(stage.upstream.faults, []);
});
