// A TCP proxy whose connections a test can cut while they are in use.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { Transform } from 'node:stream';

export class Proxy {
  #server;
  /** The connections that are open: the client's socket and the one to the service. */
  #pairs = new Set();
  #lagMs;
  /** How many connections were made through it. */
  connections = 0;
  /** Whether new connections are cut at once. */
  refuses = false;

  /** Starts a proxy to the port of `url`. What the service sends is passed on in one piece every `lagMs`, where that is given, as
   *  a slow network does. */
  static async start(url, { lagMs = 0 } = {}) {
    const proxy = new Proxy();
    proxy.#lagMs = lagMs;
    proxy.#server = createServer((client) => proxy.#join(client, Number(new URL(url).port)));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    proxy.url = `http://127.0.0.1:${proxy.#server.address().port}`;
    return proxy;
  }

  /** How many WebSockets are open. Connections that a client keeps for its next request do not count. */
  get webSockets() {
    return [...this.#pairs].filter(({ upgrades }) => upgrades).length;
  }

  /** Cuts every connection, as when the network fails: both sides see a reset. */
  cut() {
    for (const { client, service } of this.#pairs) {
      client.resetAndDestroy();
      service.resetAndDestroy();
    }
  }

  /** Cuts the clients' side only: for the service the connections stay open, but nothing more arrives on them. */
  cutClients() {
    for (const pair of this.#pairs) {
      const { client, service } = pair;
      pair.held = true;
      service.unpipe();
      client.unpipe();
      service.resume();
      client.resetAndDestroy();
    }
  }

  /** Stops forwarding to clients, as with a congested network, or a client that does not read. */
  hold() {
    for (const { service } of this.#pairs) {
      service.unpipe();
      service.pause();
    }
  }

  /** Resumes forwarding. */
  release() {
    for (const { client, service } of this.#pairs) service.pipe(client);
  }

  async stop() {
    this.#server.close();
    for (const { client, service } of this.#pairs) {
      client.destroy();
      service.destroy();
    }
    await once(this.#server, 'close');
  }

  #join(client, port) {
    // A cut connection fails on both sides, as intended; each end of the tunnel reports that to its own peer.
    client.on('error', () => {});
    if (this.refuses) return void client.resetAndDestroy();
    this.connections += 1;
    const service = connect({ host: 'localhost', port });
    const pair = { client, service, held: false, upgrades: false };
    this.#pairs.add(pair);
    client.on('data', (head) => { pair.upgrades ||= /^GET .*\r\nupgrade: websocket\r\n/is.test(head.toString('latin1')); });
    client.pipe(service);
    if (this.#lagMs > 0) service.pipe(new Lag(this.#lagMs)).pipe(client);
    else service.pipe(client);
    service.on('error', () => {});
    client.on('close', () => {
      if (!pair.held) service.destroy();
    });
    service.on('close', () => {
      client.destroy();
      this.#pairs.delete(pair);
    });
  }
}

/** Collects what is forwarded, and sends it in one write at an interval. */
class Lag extends Transform {
  #ms;
  #gathered = [];
  #timer;

  constructor(ms) {
    super();
    this.#ms = ms;
  }

  _transform(chunk, _, done) {
    this.#gathered.push(chunk);
    this.#timer ??= setTimeout(() => this.#release(), this.#ms);
    done();
  }

  _flush(done) {
    this.#release();
    done();
  }

  _destroy(error, done) {
    clearTimeout(this.#timer);
    done(error);
  }

  #release() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#gathered.length > 0) this.push(Buffer.concat(this.#gathered));
    this.#gathered = [];
  }
}
