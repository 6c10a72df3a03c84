// The hub methods of the scripted app. Everything beyond responses is sent by REST, as required of an app in serverless mode.

const STREAMS = 'api-version=2024-12-01';

/** An invocation that is completed when its client has uploaded everything. */
class Upload {
  items = [];

  constructor(event) {
    this.event = event;
    this.open = event.streamIds.length;
  }

  end(error) {
    this.error ??= error;
    this.open -= 1;
  }
}

export class Hub {
  #call;
  #complain;
  /** Open uploads, by connection and stream. */
  #uploads = new Map();
  /** Streams that their client has cancelled, by connection and invocation. */
  #cancelled = new Set();
  /** Calls that stay pending until they are released, by connection. */
  #held = new Map();

  /** `call` makes one REST request: a method, a path, a body. `complain` reports failures of requests that no caller awaits. */
  constructor(call, complain) {
    this.#call = call;
    this.#complain = complain;
  }

  /** Releases the pending calls of `hold` for a connection. */
  release(connection) {
    this.#held.get(connection)?.();
  }

  /** The response to an event: a completion of the invocation `id`, a status without one, or nothing. */
  async handle(event) {
    switch (event.kind) {
      case 'invocation': return this.#invoke(event);
      case 'stream': return this.#stream(event);
      case 'cancel': this.#cancelled.add(`${event.connection} ${event.id}`); return {};
      case 'item': this.#upload(event).items.push(event.item); return {};
      case 'completion': return this.#uploaded(event);
    }
    throw new Error(`nobody handles a ${event.kind}`);
  }

  async #invoke(event) {
    const method = METHODS[event.target];
    if (!method) return { id: event.id, error: `There is no method ${event.target}` };
    if (event.streamIds.length > 0) return this.#expect(event);
    if (event.target === 'hold') await new Promise((resolve) => this.#held.set(event.connection, resolve));
    return { ...await method({ event, args: event.args, call: this.#call }), id: event.id };
  }

  /** An upload begins; its invocation is completed after it. */
  #expect(event) {
    const upload = new Upload(event);
    for (const stream of event.streamIds) this.#uploads.set(`${event.connection} ${stream}`, upload);
    return { status: 202 };
  }

  /** An upload ends: the response is that of the invocation that announced it. */
  #uploaded(event) {
    const upload = this.#upload(event);
    this.#uploads.delete(`${event.connection} ${event.id}`);
    upload.end(event.error);
    if (upload.open > 0) return {};
    const { id, args } = upload.event;
    return { ...METHODS[upload.event.target]({ event: upload.event, args, upload }), id };
  }

  #upload(event) {
    const upload = this.#uploads.get(`${event.connection} ${event.id}`);
    if (!upload) throw new Error(`stream ${event.id} was not announced by an invocation`);
    return upload;
  }

  /** Streams are sent by REST, while the event itself is answered at once. */
  async #stream(event) {
    const items = STREAM_METHODS[event.target];
    if (!items) return { id: event.id, error: `There is no stream ${event.target}` };
    const path = `/api/hubs/${event.hub}/connections/${event.connection}/streams/${event.id}`;
    const write = async () => {
      for (const [item, error] of items(...event.args)) {
        if (this.#cancelled.has(`${event.connection} ${event.id}`)) return;
        if (error) return this.#call('POST', `${path}/:complete?${STREAMS}&reason=${encodeURIComponent(error)}`);
        await this.#call('POST', `${path}/:send?${STREAMS}`, item);
      }
      return this.#call('POST', `${path}/:complete?${STREAMS}`);
    };
    // The client may cancel or disconnect before the app is notified.
    const isOver = ({ message }) => /Error\.(Stream|Connection)\.NotExisted/.test(message);
    write().catch((error) => isOver(error) || this.#complain(error.message));
    return {};
  }
}

const membership = (event, group) => `/api/hubs/${event.hub}/groups/${group}/connections/${event.connection}?api-version=2022-06-01`;

const METHODS = {
  hold: ({ args: [value] }) => ({ result: value }),
  echo: ({ args: [value] }) => ({ result: value }),
  add: ({ args: [a, b] }) => ({ result: a + b }),
  count: ({ args }) => ({ result: args.length }),
  nothing: () => ({}),
  note: () => ({}),
  fail: ({ args: [text] }) => ({ error: text }),
  refuse: ({ args: [status] }) => ({ status }),
  whoAmI: ({ event: { connection, user = null } }) => ({ result: { connection, user } }),
  join: async ({ event, args: [group], call }) => {
    await call('PUT', membership(event, group));
    return {};
  },
  leave: async ({ event, args: [group], call }) => {
    await call('DELETE', membership(event, group));
    return {};
  },
  sum: ({ upload: { items, error } }) => {
    if (error) return { error: `the upload failed: ${error}` };
    return { result: items.reduce((total, item) => total + item, 0) };
  },
  concat: ({ args: [separator], upload: { items } }) => ({ result: items.join(separator) }),
};

/** Streams yield `[item]`; `[undefined, error]` ends the stream with that error. */
const STREAM_METHODS = {
  * counter(count) {
    for (let item = 0; item < count; item += 1) yield [item];
  },
  * broken(count, error) {
    yield* STREAM_METHODS.counter(count);
    yield [undefined, error];
  },
  /** Ends only when it is cancelled, or long after the time limit of any test. */
  * endless() {
    yield* STREAM_METHODS.counter(100_000);
  },
};
