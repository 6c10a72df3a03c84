// One group of clients on `ws`. A client that says something is in the group, and is told so.
//
// A broadcast is the loop of the documentation, over one prepared buffer; a server's frames are not masked.
import { WebSocket, WebSocketServer } from "ws";
import { obey, text } from "./control.mjs";

const message = Buffer.from(text);
const everybody = new Set();
const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false, clientTracking: false });

server.on("connection", (client) => {
  client.once("message", () => {
    everybody.add(client);
    client.send("joined");
  });
  client.on("error", () => client.terminate());
  client.on("close", () => everybody.delete(client));
});

function publish() {
  for (const client of everybody) {
    if (client.readyState === WebSocket.OPEN) client.send(message, { binary: false });
  }
}

server.on("listening", () => obey(server.address().port, publish, () => everybody.size));
