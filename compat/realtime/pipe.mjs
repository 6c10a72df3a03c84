// What an app server's hub writes to one client, as the Azure SignalR SDK (1.34.0) treats it: message by message, and held while the client
// is paused. The SDK waits for the end of a pause for half a second at least; then it looks at what it holds only when the hub writes again.

const PATIENCE_MS = 500;
/** So much may wait in the pipe before its writer has to. */
const BYTES_MAX = 64 * 1024;

export class Pipe {
  #send;
  #queue = [];
  /** Bytes that its reader has not looked at. */
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

  /** A message that waits is let through, whatever is asked for next. */
  resume() {
    this.#isPaused = false;
    this.#permit?.(true);
  }

  /** Takes a message; waits while too much is in the pipe. */
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
    // All of it was looked at, so that the writer goes on; what it writes next is read with the rest.
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
