// What an app server's hub writes to one client, as the Azure SignalR SDK (1.34.0) handles it: message by message, and queued while the
// client is paused. The SDK waits at least half a second for the end of a pause; after that it looks at its queue only when the hub writes
// again.

const PATIENCE_MS = 500;
/** Bytes that may wait in the pipe before its writer has to wait. */
const BYTES_MAX = 64 * 1024;

export class Pipe {
  #send;
  #queue = [];
  /** Bytes that the reader has not examined. */
  #unseen = 0;
  #isPaused = false;
  #isRunning = false;
  #permit;
  #seen = [];

  constructor(send) {
    this.#send = send;
  }

  pause() {
    this.#isPaused = true;
  }

  /** A message that already waits is sent, whatever is requested next. */
  resume() {
    this.#isPaused = false;
    this.#permit?.(true);
  }

  /** Adds a message; waits while too many bytes are in the pipe. */
  async write(bytes) {
    this.#queue.push(bytes);
    this.#unseen += bytes.length;
    if (!this.#isRunning) this.#run();
    if (this.#unseen > BYTES_MAX) await new Promise((resolve) => { this.#seen.push(resolve); });
  }

  async #run() {
    this.#isRunning = true;
    while (this.#queue.length > 0) {
      if (this.#isPaused && !(await this.#isPermitted())) break;
      const bytes = this.#queue.shift();
      this.#unseen = Math.max(0, this.#unseen - bytes.length);
      this.#send(bytes);
      if (this.#unseen <= BYTES_MAX / 2) this.#wake();
    }
    // Everything was examined, so the writer continues; its next message is read with the rest.
    this.#isRunning = false;
    this.#unseen = 0;
    this.#wake();
  }

  async #isPermitted() {
    let timer;
    const permitted = await new Promise((resolve) => {
      this.#permit = resolve;
      timer = setTimeout(() => resolve(false), PATIENCE_MS);
    });
    clearTimeout(timer);
    this.#permit = undefined;
    return permitted;
  }

  #wake() {
    for (const wake of this.#seen.splice(0)) wake();
  }
}
