// One process of the binary with the scripted app as its upstream, and the calls that scenarios use.

import { Chappe, token } from '../harness.mjs';
import { Proxy } from './proxy.mjs';
import { Upstream } from './upstream.mjs';

/** A claim that a header cannot carry unescaped. */
const DISPLAY_NAME = 'Müller, Jürgen: "Jü"';

export class Stage {
  #proxies = new Map();
  /** Starts both; `settings` are further `--set` values. */
  static async start({ settings = [] } = {}) {
    const stage = new Stage();
    stage.upstream = await Upstream.start();
    try {
      stage.chappe = await Chappe.start({ settings: [stage.upstream.setting, ...settings] });
    } catch (error) {
      await stage.stop();
      throw error;
    }
    stage.upstream.serve({
      call: async (method, path, body) => {
        const { status, text } = await stage.#request(method, path, body);
        if (status >= 300) throw new Error(`${method} ${path} was answered ${status}: ${text}`);
      },
      access: (options) => stage.access(options),
    });
    return stage;
  }

  async stop() {
    await Promise.all([...this.#proxies.values()].map((proxy) => proxy.stop()));
    await this.chappe?.stop();
    await this.upstream?.stop();
  }

  /** A hub that no other test uses. */
  hub(name = 'hub') {
    this.hubs = (this.hubs ?? 0) + 1;
    return `${name}${this.hubs}`.toLowerCase();
  }

  /** The service's address of a hub, with a query of the client's own, and a token for it. */
  access({ hub, user, claims = {}, base = this.chappe.urls.realtime, ...options }) {
    const audience = `${base}/client/?hub=${hub}`;
    const who = user ? { nameid: user, 'display.name': DISPLAY_NAME } : {};
    return { url: `${audience}&colour=blue`, accessToken: token({ audience, claims: { ...who, ...claims }, ...options }) };
  }

  /** The calls of scenarios, by name; also called from a page, so arguments and results are JSON. */
  call = async (name, ...args) => this[`on_${name}`](...args);

  on_address({ via, hub, user, ...options }) {
    if (via !== 'app') return this.access({ hub, user, ...options });
    return { url: `${this.upstream.url}/app/${hub}${user ? `?user=${encodeURIComponent(user)}` : ''}` };
  }

  async on_rest(method, path, body) {
    const { status, text, code } = await this.#request(method, path, body);
    return { status, code, body: text === '' ? undefined : parse(text) };
  }

  /** Waits until the upstream has received such an event, a number of times; returns the first. */
  async on_saw(hub, values, times = 1) {
    const { upstream } = this;
    await upstream.seen.until(() => upstream.all(hub, values).length >= times, `${times} times ${JSON.stringify(values)} of ${hub}`);
    return upstream.all(hub, values)[0];
  }

  on_all(hub, values) {
    return this.upstream.all(hub, values);
  }

  /** Sends `['number', n]` to all clients of a hub, one after the other. */
  async on_publish(hub, count, first = 0) {
    for (let number = first; number < first + count; number += 1) {
      const { status } = await this.on_rest('POST', `/api/v1/hubs/${hub}`, { target: 'news', arguments: ['number', number] });
      if (status !== 202) throw new Error(`message ${number} was answered ${status}`);
    }
  }

  /** A new proxy to the service; its address. */
  async on_proxy(options) {
    const proxy = await Proxy.start(this.chappe.urls.realtime, options);
    this.#proxies.set(proxy.url, proxy);
    return proxy.url;
  }

  /** Cuts the connections of a proxy: on both sides, on the clients' side, or permanently until `back` is called. */
  on_cut(base, side) {
    const proxy = this.#proxies.get(base);
    if (side === 'clients') return proxy.cutClients();
    proxy.refuses = side === 'gone';
    return side === 'back' ? undefined : proxy.cut();
  }

  /** The state of a proxy. */
  on_ways(base) {
    const { webSockets, connections } = this.#proxies.get(base);
    return { webSockets, connections };
  }

  /** Releases the pending calls of the app's method `hold` for a connection. */
  on_release(connection) {
    return this.upstream.release(connection);
  }

  async #request(method, path, body) {
    const url = `${this.chappe.urls.realtime}${path}`;
    const headers = { authorization: `Bearer ${token({ audience: url })}`, 'content-type': 'application/json' };
    const response = await fetch(url, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    return { status: response.status, text: await response.text(), code: response.headers.get('x-ms-error-code') };
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
