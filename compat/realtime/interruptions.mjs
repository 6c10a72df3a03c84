// Interrupted connections. Runs in Node.js and in a page alike; stages are those of scenarios.mjs.

import { join, news, rest, same } from './scenarios.mjs';
import { eventually } from './waiting.mjs';

const CUTS = 6;
const BETWEEN = 20;
const numbers = (count) => [...Array(count).keys()];

/** A client with its own proxy, and the operations of that proxy. */
async function joinByProxy(stage, { lagMs, ...options } = {}) {
  const base = await stage.call('proxy', { lagMs });
  const joined = await join(stage, { base, ...options });
  return { ...joined, base, cut: (side) => stage.call('cut', base, side), ways: () => stage.call('ways', base) };
}

const heard = (client) => client.messages.all.filter(([kind]) => kind === 'number').map(([, number]) => number);
const hears = (client, number) => client.messages.find((kind, value) => kind === 'number' && value >= number,
  () => `number ${number} (the client noticed ${JSON.stringify(client.life.all)})`);

/** Sends messages to all clients of the stage's hub, one after the other, until it is stopped; `also` is called for each of them. */
function flow(stage, also = async () => {}) {
  const [batch, state] = [5, { published: 0, goes: true }];
  const done = (async () => {
    while (state.goes) {
      await stage.call('publish', stage.hub, batch, state.published);
      for (const number of numbers(batch)) await also(state.published + number);
      state.published += batch;
    }
    return state.published;
  })();
  const end = () => {
    state.goes = false;
    return done;
  };
  return { end, published: () => state.published };
}

/** Cuts the connection repeatedly, each time after messages that can only have arrived over the newest socket. */
async function cutOften({ client, cut }, published, side) {
  for (let round = 0; round < CUTS; round += 1) {
    await hears(client, published() + BETWEEN);
    await cut(side);
  }
  await hears(client, published() + BETWEEN);
}

function uninterrupted({ client, connection }) {
  same(client.life.all, [], 'what the client noticed');
  if (client.id) same(client.id, connection, 'the id of the connection');
}

export const interruptions = {
  /** Messages to all clients, and to the server, while the connection is cut repeatedly. */
  async statefulFlow(stage) {
    const watcher = await join(stage, { user: 'watcher' });
    const joined = await joinByProxy(stage, { user: 'ada', stateful: true, retry: true });
    const { client, connection } = joined;
    const messages = flow(stage, (number) => client.send('note', number));
    await cutOften(joined, messages.published, 'both');
    const sent = await messages.end();
    for (const one of [client, watcher.client]) await hears(one, sent - 1);
    same(heard(client), numbers(sent), 'what the interrupted client heard');
    same(heard(watcher.client), numbers(sent), 'what the other client heard');
    await stage.call('saw', stage.hub, { target: 'note', connection }, sent);
    const arrived = await stage.call('all', stage.hub, { target: 'note', connection });
    same(arrived.map(({ args: [number] }) => number), numbers(sent), 'what the app heard');
    uninterrupted(joined);
    await client.stop();
    await watcher.client.stop();
    // After a close by the client, the service does not wait for a reconnect.
    await stage.call('saw', stage.hub, { event: 'disconnected', connection });
    same((await stage.call('all', stage.hub, { category: 'connections', connection })).length, 2, 'connected and disconnected, once each');
  },

  /** The service has not detected the lost connection; the new socket replaces the old one nevertheless. */
  async statefulHalfOpen(stage) {
    const joined = await joinByProxy(stage, { user: 'ada', stateful: true, retry: true });
    const { client } = joined;
    const messages = flow(stage);
    await cutOften(joined, messages.published, 'clients');
    const sent = await messages.end();
    await hears(client, sent - 1);
    same(heard(client), numbers(sent), 'what the client heard');
    uninterrupted(joined);
    await client.stop();
  },

  /** Messages that arrive together with the handshake response are counted like all others. */
  async statefulFromTheStart(stage) {
    const messages = flow(stage);
    const joined = await joinByProxy(stage, { user: 'ada', stateful: true, retry: true, lagMs: 40 });
    const { client } = joined;
    await cutOften(joined, messages.published, 'both');
    const sent = await messages.end();
    await hears(client, sent - 1);
    const all = heard(client);
    same(all, numbers(sent).slice(all[0]), 'what the client heard from its first message on');
    uninterrupted(joined);
    await client.stop();
  },

  /** Invocations, streams and client results that are pending when the connection is cut complete after the reconnect. */
  async statefulUnderWay(stage) {
    const joined = await joinByProxy(stage, { user: 'ada', stateful: true, retry: true });
    const { client, connection, cut } = joined;
    const held = client.invoke('hold', 'the answer');
    await stage.call('saw', stage.hub, { target: 'hold', connection });
    const stream = client.stream('counter', [60]);
    const result = rest(stage, 'POST', `/api/hubs/${stage.hub}/connections/${connection}/:invoke?api-version=2024-12-01`,
      { target: 'double', arguments: [21] }, 200);
    await cut('both');
    await stage.call('release', connection);
    same(await held, 'the answer', 'the answer that was held');
    same(await stream, { items: numbers(60) }, 'the stream');
    same((await result).body.result, 42, 'the result of the client');
    uninterrupted(joined);
    await client.stop();
  },

  /** A connection that the service closes stays closed, although this client tries the same address once more. */
  async statefulEnds(stage) {
    const joined = await joinByProxy(stage, { user: 'ada', stateful: true });
    const { client, connection, ways } = joined;
    await rest(stage, 'DELETE', `/api/hubs/${stage.hub}/connections/${connection}?api-version=2022-06-01&reason=enough`, undefined, 200);
    const reason = await client.closed();
    if (!/enough/.test(reason)) throw new Error(`it was closed with '${reason}', not with the reason`);
    await stage.call('saw', stage.hub, { event: 'disconnected', connection });
    await rest(stage, 'HEAD', `/api/hubs/${stage.hub}/connections/${connection}?api-version=2022-06-01`, undefined, 404);
    await eventually(async () => ((await ways()).webSockets === 0 ? true : undefined), 'the end of all WebSockets');
  },

  /** A client that does not reconnect is disconnected, and one that reconnects without its old id gets a new connection. */
  async statefulGone(stage) {
    const joined = await joinByProxy(stage, { user: 'ada', stateful: true, retry: true });
    const { client, connection } = joined;
    await joined.cut('gone');
    await client.life.find(({ what }) => what === 'reconnecting', 'the attempt to reconnect');
    await stage.call('saw', stage.hub, { event: 'disconnected', connection });
    await joined.cut('back');
    const { detail } = await client.life.find(({ what }) => what === 'reconnected', 'the new connection');
    same(detail !== connection, true, 'another id');
    await stage.call('publish', stage.hub, 5);
    await hears(client, 4);
    same(heard(client), numbers(5), 'what it heard on the new connection');
    await client.stop();
  },

  /** Without stateful reconnect a cut connection is replaced by a new one. */
  async cut(stage) {
    const { client, connection, cut } = await joinByProxy(stage, { user: 'ada', retry: true });
    await cut('both');
    const { detail } = await client.life.find(({ what }) => what === 'reconnected', 'the new connection');
    same(detail !== connection, true, 'another id');
    await stage.call('saw', stage.hub, { event: 'disconnected', connection });
    await rest(stage, 'POST', `/api/v1/hubs/${stage.hub}/users/ada`, news('said', 'again'), 202);
    await client.messages.find((_, text) => text === 'again', 'a message on the new connection');
    same(await client.invoke('add', 1, 1), 2, 'a call on the new connection');
    await client.stop();
  },
};
