// What the servers in JavaScript have in common: how the benchmark tells them what to do, on a connection of its own.
import { createServer } from "node:net";

/** A request is a letter and a number of four bytes. */
const REQUEST_BYTES = 5;

/** Text of a message. The clients count its one '#', so there is none elsewhere in a frame. */
export const text = `#${"x".repeat(Number(process.argv[2]) - 1)}`;

/** Says where the server listens, and obeys the first connection until it ends. */
export function obey(port, publish, joined) {
  const control = createServer({ noDelay: true }, (socket) => {
    let waiting = Buffer.alloc(0);
    socket.on("data", (data) => {
      waiting = Buffer.concat([waiting, data]);
      while (waiting.length >= REQUEST_BYTES) {
        const letter = String.fromCharCode(waiting[0]);
        const count = waiting.readUInt32LE(1);
        waiting = waiting.subarray(REQUEST_BYTES);
        if (letter === "P") {
          for (let sent = 0; sent < count; sent += 1) publish();
        } else if (letter === "J") {
          const answer = Buffer.alloc(16);
          answer.writeBigUInt64LE(BigInt(joined()));
          socket.write(answer);
        } else {
          throw new Error(`an unknown request: ${letter}`);
        }
      }
    });
    socket.on("error", () => process.exit(0));
    socket.on("close", () => process.exit(0));
  });
  control.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${port} 127.0.0.1:${control.address().port}`));
}
