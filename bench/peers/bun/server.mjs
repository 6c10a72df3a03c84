// One topic of clients on Bun's server, which is uWebSockets in C++. A client that says something subscribes, and is told so.
//
// A broadcast is one call; uWebSockets writes what came together to a client at once. No pings: clients are silent by design.
import { obey, text } from "./control.mjs";

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch(request, server) {
    return server.upgrade(request) ? undefined : new Response(null, { status: 400 });
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: 0,
    sendPings: false,
    message(client) {
      client.subscribe("everybody");
      client.send("joined");
    },
  },
});

obey(
  server.port,
  () => server.publish("everybody", text),
  () => server.subscriberCount("everybody"),
);
