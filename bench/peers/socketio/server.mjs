// One room of clients on `socket.io`, WebSockets only. Who is let into the namespace is in the room.
//
// The adapter encodes a broadcast once and prepares its frame. Pings are further apart than the benchmark is long.
import { createServer } from "node:http";
import { Server } from "socket.io";
import { obey, text } from "./control.mjs";

const HOUR_MS = 3_600_000;

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  serveClient: false,
  perMessageDeflate: false,
  httpCompression: false,
  pingInterval: HOUR_MS,
  pingTimeout: HOUR_MS,
});

// The documentation's advice for many clients: the request of the upgrade need not be kept.
io.engine.on("connection", (socket) => {
  socket.request = null;
});
io.on("connection", (socket) => socket.join("everybody"));

const room = io.to("everybody");
const publish = () => room.emit("m", text);
const joined = () => io.of("/").adapter.rooms.get("everybody")?.size ?? 0;

http.listen({ host: "127.0.0.1", port: 0 }, () => obey(http.address().port, publish, joined));
