// A client of an app server, each with a hub of its own.

import { token } from '../harness.mjs';
import { AppServer } from './app-server.mjs';
import { Proxy } from './proxy.mjs';

let hubs = 0;

/** An app server with a hub of its own, a client that connects through a proxy, and the client as the server knows it. `connect` creates
 *  clients, `options` are for it; `context` ends all three with the test. */
export async function meetClient(context, { url: service, connect, methods, claims, ...options }) {
  hubs += 1;
  const hub = `hub${hubs}`;
  const server = await AppServer.connect({ url: service, hub, methods });
  context.after(() => server.stop());
  const proxy = await Proxy.start(service);
  context.after(() => proxy.stop());
  const url = `${proxy.url}/client/?hub=${hub}`;
  const client = await connect({ url, accessToken: token({ audience: url, claims: { nameid: 'ada', ...claims } }), ...options });
  context.after(() => client.stop());
  const [at] = server.clients.values();
  return { server, proxy, client, at };
}
