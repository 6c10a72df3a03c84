// The JavaScript clients, old and new, with the interface that scenarios use. Runs in Node.js and in a page alike.

import { Growing, Messages, within, PATIENCE_MS } from './waiting.mjs';

const RETRY_MS = 50;

/** A function that makes started clients with a library: `@microsoft/signalr` or `@aspnet/signalr`. */
export function clients({ signalR, MessagePackHubProtocol }) {
  return async (options) => {
    const client = new Client(signalR, build(signalR, MessagePackHubProtocol, options));
    await client.start();
    return client;
  };
}

function build(signalR, MessagePackHubProtocol, options) {
  const { url, accessToken, transport, protocol, retry = false, skipNegotiation = false, stateful, headers } = options;
  const builder = new signalR.HubConnectionBuilder().withUrl(url, {
    transport: signalR.HttpTransportType[transport],
    skipNegotiation,
    headers,
    accessTokenFactory: typeof accessToken === 'function' ? accessToken : () => accessToken,
  });
  builder.configureLogging(signalR.LogLevel.None);
  if (protocol === 'messagepack') builder.withHubProtocol(new MessagePackHubProtocol());
  if (retry) builder.withAutomaticReconnect({ nextRetryDelayInMilliseconds: () => RETRY_MS });
  if (stateful) builder.withStatefulReconnect(stateful === true ? undefined : stateful);
  return builder.build();
}

class Client {
  #signalR;
  #connection;
  /** `reconnecting`, `reconnected` and `closed`, with their errors, in order. */
  life = new Growing();

  constructor(signalR, connection) {
    this.#signalR = signalR;
    this.#connection = connection;
    this.messages = new Messages(connection, 'news');
    this.positions = new Messages(connection, 'chappe.position');
    connection.on('double', (number) => number * 2);
    connection.on('throw', (text) => { throw new Error(text); });
    connection.on('silent', () => {});
    const lives = (what) => (detail) => this.life.push({ what, detail: detail === undefined ? undefined : String(detail.message ?? detail) });
    connection.onclose(lives('closed'));
    connection.onreconnecting?.(lives('reconnecting'));
    connection.onreconnected?.(lives('reconnected'));
  }

  /** The public connection id, if the client knows it. */
  get id() {
    return this.#connection.connectionId;
  }

  start() {
    return this.#connection.start();
  }

  stop() {
    return this.#connection.stop();
  }

  invoke(target, ...args) {
    return within(PATIENCE_MS, this.#connection.invoke(target, ...args), () => `${target} was not answered`);
  }

  /** Invokes a method without a result. */
  async run(target, ...args) {
    const value = await this.invoke(target, ...args);
    if ((value ?? null) !== null) throw new Error(`${target} gave ${JSON.stringify(value)}`);
  }

  send(target, ...args) {
    return this.#connection.send(target, ...args);
  }

  /** The items of a stream, and its error; `take` cancels it after that many items. */
  stream(target, args, take = Infinity) {
    const items = [];
    const ended = new Promise((resolve) => {
      const subscription = this.#connection.stream(target, ...args).subscribe({
        next: (item) => {
          items.push(item);
          if (items.length !== take) return;
          subscription.dispose();
          resolve({ items });
        },
        error: (error) => resolve({ items, error: String(error.message ?? error) }),
        complete: () => resolve({ items }),
      });
    });
    return within(PATIENCE_MS, ended, () => `${target} did not end; ${items.length} items came`);
  }

  /** Invokes a method whose last argument is a stream of these items, which ends with `error` if one is given. */
  async upload(target, args, items, error) {
    const subject = new this.#signalR.Subject();
    const answer = this.invoke(target, ...args, subject);
    for (const item of items) subject.next(item);
    if (error) subject.error(new Error(error));
    else subject.complete();
    return answer;
  }

  /** Waits until the connection is closed; the error with which it was closed. */
  async closed() {
    return (await this.life.find(({ what }) => what === 'closed', 'the end of the connection')).detail;
  }
}
