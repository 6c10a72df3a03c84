// The behaviour that every client shows with every transport and every hub protocol. Runs in Node.js and in a page alike.
//
// A scenario gets a stage: `connect` starts a client, `call` calls the test's process (REST, the events that the upstream received), `hub`
// is a hub of its own, `protocol` and `transport` are the combination under test, and `can` lists what this client supports.

const VALUE = { deep: [1, 2.5, -3, null, true, 'ä😀', { '': [] }], text: 'two\nlines, a "quote" and \\' };
const LARGE = 'x'.repeat(200_000);

export function same(actual, expected, what = 'the value') {
  if (equal(actual, expected)) return;
  if (Array.isArray(actual) && Array.isArray(expected)) {
    const at = Math.max(0, [...expected, undefined].findIndex((item, index) => !equal(item, actual[index])) - 2);
    throw new Error(`${what} from ${at} on is ${show(actual.slice(at, at + 20))}, not ${show(expected.slice(at, at + 20))}`);
  }
  throw new Error(`${what} is ${show(actual)}, not ${show(expected)}`);
}

/** Runs one scenario, and closes its clients in any case: one that keeps reconnecting would keep its process alive. */
export async function play(scenario, stage) {
  const clients = [];
  const connect = async (options) => {
    const client = await stage.connect(options);
    clients.push(client);
    return client;
  };
  try {
    await scenario({ ...stage, connect });
  } finally {
    await Promise.allSettled(clients.map((client) => client.stop()));
  }
}

const show = (value) => JSON.stringify(value)?.slice(0, 400);

function equal(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const [left, right] = [Object.keys(a), Object.keys(b)];
  return left.length === right.length && left.every((key) => equal(a[key], b[key]));
}

/** The text of the error with which a promise is rejected. */
async function fails(promise, pattern) {
  const error = await promise.then((value) => { throw new Error(`it gave ${show(value)} instead of failing with ${pattern}`); }, (cause) => cause);
  const text = String(error.message ?? error);
  if (!pattern.test(text)) throw new Error(`the error is '${text}', not ${pattern}`);
}

/** A started client of the stage's hub, and its public id. */
export async function join(stage, { user, base, ...options } = {}) {
  const { hub, transport, protocol, via } = stage;
  const address = await stage.call('address', { hub, user, via, base });
  const client = await stage.connect({ ...address, transport, protocol, ...options });
  const connection = client.id ?? (await client.invoke('whoAmI')).connection;
  return { client, connection };
}

export const news = (...args) => ({ target: 'news', arguments: args });

export async function rest(stage, method, path, body, status) {
  const answer = await stage.call('rest', method, path, body);
  if (status !== undefined) same(answer.status, status, `the status of ${method} ${path}`);
  return answer;
}

export const scenarios = {
  async calls(stage) {
    const { client } = await join(stage);
    same(await client.invoke('echo', VALUE), VALUE, 'the echo');
    same(await client.invoke('add', 2, 3), 5);
    await client.run('nothing');
    same(await client.invoke('count', ...Array(12).keys()), 12, 'the number of arguments');
    await fails(client.invoke('fail', 'no, because of "this"'), /no, because of "this"/);
    await fails(client.invoke('missing'), /no method missing/);
    await fails(client.invoke('refuse', 418), /418/);
    const sums = await Promise.all(Array.from({ length: 20 }, (_, number) => client.invoke('add', number, 1)));
    same(sums, Array.from({ length: 20 }, (_, number) => number + 1), 'answers of calls side by side');
    same((await client.invoke('echo', LARGE)).length, LARGE.length, 'the length of a large answer');
    await client.stop();
  },

  async sends(stage) {
    const { client, connection } = await join(stage, { user: 'sender' });
    // More bytes than may wait at the service: it must pause its client, because a lost message would be reported to no one.
    const count = 200;
    await Promise.all(Array.from({ length: count }, (_, number) => client.send('note', number)));
    await stage.call('saw', stage.hub, { target: 'note', connection }, count);
    const notes = await stage.call('all', stage.hub, { target: 'note', connection });
    const numbers = notes.map(({ args: [number] }) => number);
    if (!stage.can.ordered) numbers.sort((a, b) => a - b);
    same(numbers, [...Array(count).keys()], 'the notes');
    same(notes.every(({ id, user }) => id === undefined && user === 'sender'), true, 'no note has an id, all have the user');
    await client.stop();
  },

  async bytes(stage) {
    const { client } = await join(stage);
    const bytes = Uint8Array.from({ length: 70_000 }, (_, index) => index % 256);
    const back = await client.invoke('echo', bytes);
    same(ArrayBuffer.isView(back), true, 'bytes come back as bytes');
    same([...new Uint8Array(back.buffer, back.byteOffset, back.byteLength)], [...bytes], 'the bytes');
    await client.stop();
  },

  async streams(stage) {
    const { client, connection } = await join(stage);
    same(await client.stream('counter', [50]), { items: [...Array(50).keys()] }, 'the stream');
    same(await client.stream('counter', [0]), { items: [] }, 'a stream without items');
    const { items, error } = await client.stream('broken', [2, 'it broke']);
    same(items, [0, 1], 'the items before the error');
    if (!/it broke/.test(error)) throw new Error(`the stream's error is '${error}'`);
    const [left, right] = await Promise.all([client.stream('counter', [20]), client.stream('counter', [20])]);
    same([left.items, right.items], [[...Array(20).keys()], [...Array(20).keys()]], 'streams side by side');
    if (stage.can.cancel) {
      same((await client.stream('endless', [], 3)).items.slice(0, 3), [0, 1, 2], 'the items before it was cancelled');
      await stage.call('saw', stage.hub, { kind: 'cancel', connection });
    }
    await client.stop();
  },

  async uploads(stage) {
    const { client, connection } = await join(stage);
    // More bytes than may wait at the service on WebSockets; on the other transports each item is a separate request.
    const numbers = [...Array(stage.transport === 'WebSockets' ? 300 : 30).keys()];
    const sum = await client.upload('sum', [], numbers);
    await stage.call('saw', stage.hub, { kind: 'completion', connection, event: 'sum' });
    const items = await stage.call('all', stage.hub, { kind: 'item', connection, event: 'sum' });
    same(items.map(({ item }) => item), numbers, 'the items at the app');
    if (stage.can.uploadAnswers) {
      same(sum, numbers.reduce((a, b) => a + b), 'the sum');
      same(await client.upload('concat', ['-'], ['a', 'ä', '']), 'a-ä-', 'an argument beside the stream');
    }
    if (stage.can.failUploads) await fails(client.upload('sum', [], [1], 'torn'), /the upload failed: .*torn/);
    await client.stop();
  },

  async results(stage) {
    const { client, connection } = await join(stage);
    const ask = (id, target, ...args) => rest(stage, 'POST', `/api/hubs/${stage.hub}/connections/${id}/:invoke?api-version=2024-12-01`, { target, arguments: args });
    const doubled = await ask(connection, 'double', 21);
    same([doubled.status, doubled.body?.result], [200, 42], 'what the client answered');
    const failed = await ask(connection, 'throw', 'I will not');
    same(failed.status >= 400 || failed.body?.error !== undefined, true, `an error of the client (${show(failed)})`);
    same(/I will not/.test(JSON.stringify(failed.body)), true, `the error's text in ${show(failed)}`);
    same(/provide a result/.test(JSON.stringify((await ask(connection, 'nobody')).body)), true, 'no handler');
    same((await ask('nobody-has-this', 'double', 1)).status, 404, 'an unknown connection');
    const many = await Promise.all(Array.from({ length: 10 }, (_, number) => ask(connection, 'double', number)));
    same(many.map(({ body }) => body.result), Array.from({ length: 10 }, (_, number) => number * 2), 'questions side by side');
    await client.stop();
  },

  async receivers(stage) {
    const [ada, ben] = [await join(stage, { user: 'ada' }), await join(stage, { user: 'ben' })];
    const to = (where, text) => rest(stage, 'POST', `/api/hubs/${stage.hub}${where}/:send?api-version=2022-06-01`, news('said', text), 202);
    const hears = ({ client }, text) => client.messages.find((_, heard) => heard === text, text);
    await to('', 'everybody');
    await hears(ada, 'everybody');
    await to('/users/ada', 'to ada');
    await ada.client.run('join', 'team');
    await to('/groups/team', 'to the team');
    await ada.client.run('leave', 'team');
    await to('/groups/team', 'to nobody');
    await to(`/connections/${ada.connection}`, 'to one connection');
    for (const user of ['ada', 'ben']) await to(`/users/${user}`, 'last');
    await hears(ada, 'last');
    await hears(ben, 'last');
    const heard = ({ client }) => client.messages.all.map(([, text]) => text);
    same(heard(ada), ['everybody', 'to ada', 'to the team', 'to one connection', 'last'], 'what ada heard');
    same(heard(ben), ['everybody', 'last'], 'what ben heard');
    await ada.client.stop();
    await ben.client.stop();
  },

  async bursts(stage) {
    const { client } = await join(stage, { user: 'listener' });
    const path = `/api/hubs/${stage.hub}/:send?api-version=2022-06-01`;
    await rest(stage, 'POST', path, news('large', LARGE), 202);
    await rest(stage, 'POST', path, news('odd', VALUE), 202);
    await stage.call('publish', stage.hub, 60);
    await client.messages.find((kind, number) => kind === 'number' && number === 59, 'the last of 60');
    const [[, large], [, odd], ...numbers] = client.messages.all;
    same([large.length, odd], [LARGE.length, VALUE], 'the first two');
    same(numbers.map(([, number]) => number), [...Array(60).keys()], 'the numbers in their order');
    await client.stop();
  },

  async lives(stage) {
    const { client, connection } = await join(stage, { user: 'visitor, with comma' });
    const { hub } = stage;
    const came = await stage.call('saw', hub, { event: 'connected', connection });
    same(came.user, 'visitor, with comma', 'the user');
    same(came.claims['display.name'], 'Müller, Jürgen: "Jü"', 'a claim with a comma and umlauts');
    same(/[?&]colour=blue/.test(came.query), true, `the client's query in ${came.query}`);
    await client.stop();
    await stage.call('saw', hub, { event: 'disconnected', connection });
    same((await stage.call('all', hub, { category: 'connections', connection })).length, 2, 'one of each');
  },

  async ends(stage) {
    const { client, connection } = await join(stage);
    await rest(stage, 'DELETE', `/api/hubs/${stage.hub}/connections/${connection}?api-version=2022-06-01&reason=enough`, undefined, 200);
    const reason = await client.closed();
    const mayBeUntold = stage.can.closeReason === 'unless overtaken' && reason === undefined;
    if (stage.can.closeReason && !mayBeUntold && !/enough/.test(reason)) throw new Error(`it was closed with '${reason}', not with the reason`);
    await stage.call('saw', stage.hub, { event: 'disconnected', connection });
    await rest(stage, 'HEAD', `/api/hubs/${stage.hub}/connections/${connection}?api-version=2022-06-01`, undefined, 404);
  },
};
