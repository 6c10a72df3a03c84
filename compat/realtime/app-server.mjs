// Replaces an app server of Default mode, in the role of the Azure SignalR SDK: one server connection that uses the service protocol, and a
// hub whose methods the test provides. It implements as much of stateful reconnect as the SDK does: a new socket (ConnectionReconnect)
// discards a message of which only some parts arrived.

import { once } from 'node:events';

import { decode, encode } from '@msgpack/msgpack';
import WebSocket from 'ws';

import { token } from '../harness.mjs';
import { completion, framed, invocation, next, read, streamItem } from './framing.mjs';
import { Pipe } from './pipe.mjs';
import { Growing } from './waiting.mjs';

const KEEP_ALIVE_MS = 5_000;
/** Keys of the extension map. */
const PROTOCOL = 3;
const DATA_MESSAGE_TYPE = 5;
const IS_PARTIAL = 6;
/** A Close message, framed. */
const CLOSE = { json: Buffer.from('{"type":7}\x1e'), messagepack: Buffer.from([4, 0x93, 7, 0xc0, 0xc2]) };

export class AppServer {
  #socket;
  #methods;
  #bytes = Buffer.alloc(0);
  #keepAlive;
  /** Its clients, by connection id. */
  clients = new Map();
  /** What clients sent, in order: `{ client, message }`, with the names of the JSON protocol. */
  received = new Growing();
  /** The parts of messages that arrived, and the service events: `{ client, bytes }` and `{ object, id, kind, text }`. */
  pieces = new Growing();
  events = new Growing();
  /** The ids of clients that have ended. */
  ends = new Growing();
  /** Pauses (1) and resumptions (3) of clients that the service requested: `{ id, operation }`. */
  flows = new Growing();
  /** The received pings, with their keys and values. */
  pings = new Growing();

  /**
   * Connects to the service at `url` for a hub. `methods` are called with a client and the arguments of its call; what they give back is
   * the result. `handshake` are the items of the first message behind the protocol's version.
   */
  static async connect({ url, hub, name = 'stand-in', methods = {}, handshake = [0, '', 1, {}, true] }) {
    const server = new AppServer();
    server.#methods = methods;
    const audience = `${url}/server/?hub=${hub}`;
    const headers = { authorization: `Bearer ${token({ audience })}`, 'x-asrs-server-id': name };
    server.#socket = new WebSocket(`${audience.replace(/^http/, 'ws')}&cid=${name}-1`, { headers, maxPayload: 1 << 30 });
    server.answered = new Promise((resolve, reject) => { server.answer = (error) => (error ? reject(new Error(error)) : resolve()); });
    server.#socket.on('message', (data) => server.#take(data));
    // A lost connection ends the server's clients; the test observes the effect on them.
    server.#socket.on('error', (error) => server.answer(error.message));
    server.closed = new Promise((resolve) => { server.#socket.on('close', resolve); });
    await once(server.#socket, 'open');
    server.send([1, 1, ...handshake]);
    await server.answered;
    server.#keepAlive = setInterval(() => server.send([3]), KEEP_ALIVE_MS);
    return server;
  }

  async stop() {
    clearInterval(this.#keepAlive);
    this.#socket.close();
    await this.closed;
  }

  /** Sends one service message: the number of its type and its fields. */
  send(fields) {
    this.#write(encode(fields));
  }

  /** Sends bytes to one client. */
  data(id, bytes, type = 2) {
    // The keys of the extension map are numbers, which objects do not have.
    const message = Buffer.concat([encode([6, id, bytes]), Buffer.from([0x81, DATA_MESSAGE_TYPE, type])]);
    message[0] += 1;
    this.#write(message);
  }

  #write(bytes) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(framed(bytes));
  }

  /** Calls a method of one client. */
  call(client, target, ...args) {
    this.data(client.id, invocation(client.protocol, target, args));
  }

  #take(data) {
    this.#bytes = Buffer.concat([this.#bytes, data]);
    for (let found; (found = next('messagepack', this.#bytes)); ) {
      this.#bytes = this.#bytes.subarray(found.used);
      this.#on(decode(found.message));
    }
  }

  #on([type, ...fields]) {
    const [id, ...rest] = fields;
    if (type === 2) this.answer(fields[0]);
    else if (type === 3) this.pings.push(fields);
    else if (type === 4) {
      const [claims, headers, , extensions] = rest;
      const protocol = extensions[PROTOCOL] ?? 'json';
      const pipe = new Pipe((bytes) => this.data(id, bytes));
      this.clients.set(id, { id, protocol, claims, headers, pipe, pieces: [], bytes: Buffer.alloc(0), isIntroduced: false });
    } else if (type === 5) this.#onEnd(id);
    else if (type === 6) this.#onData(id, rest[0], rest[1]);
    else if (type === 22) this.events.push({ object: id, id: rest[0], kind: rest[1], text: rest[2] });
    else if (type === 39) this.#onFlow(id, rest[1]);
    else if (type === 38 && this.clients.has(id)) this.clients.get(id).pieces = [];
  }

  /** The SDK sends a Close to a client that has already disconnected. */
  #onEnd(id) {
    const client = this.clients.get(id);
    this.clients.delete(id);
    if (client) this.data(id, CLOSE[client.protocol], 4);
    this.ends.push(id);
  }

  /** As in the SDK: while the client is paused, what the hub writes to it is queued. */
  #onFlow(id, operation) {
    this.flows.push({ id, operation });
    const { pipe } = this.clients.get(id) ?? {};
    if (operation === 1) {
      pipe?.pause();
      this.send([39, id, 1, 2, {}]);
    } else if (operation === 3) pipe?.resume();
  }

  #onData(id, payload, extensions) {
    const client = this.clients.get(id);
    if (!client) return;
    client.pieces.push(payload);
    if (extensions[IS_PARTIAL]) {
      this.pieces.push({ client, bytes: payload.length });
      return;
    }
    client.bytes = Buffer.concat([client.bytes, ...client.pieces]);
    client.pieces = [];
    for (let found; (found = next(client.isIntroduced ? client.protocol : 'json', client.bytes)); ) {
      client.bytes = client.bytes.subarray(found.used);
      if (client.isIntroduced) this.#onMessage(client, read(client.protocol, found.message));
      else {
        client.isIntroduced = true;
        this.data(id, Buffer.from('{}\x1e'), 1);
      }
    }
  }

  #onMessage(client, message) {
    this.received.push({ client, message });
    if (message.type === 4) this.#stream(client, message);
    if (message.type !== 1) return;
    const result = this.#methods[message.target]?.(client, ...message.arguments);
    if (message.invocationId) this.data(client.id, completion(client.protocol, message.invocationId, { result }));
  }

  /** Sends the items that a method yields, as fast as the pipe accepts them. */
  async #stream({ protocol, pipe }, { invocationId, target, arguments: args }) {
    for await (const item of this.#methods[target](...args)) await pipe.write(streamItem(protocol, invocationId, item));
    await pipe.write(completion(protocol, invocationId, {}));
  }
}
