// Waiting for events. Runs in Node.js and in a page alike.

export const PATIENCE_MS = 30_000;

/** The promise's value, or an error that says what did not happen in time. */
export async function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(what())), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A list that grows, and callers that wait for an item in it. */
export class Growing {
  all = [];
  #waiting = new Set();

  push(item) {
    this.all.push(item);
    for (const check of this.#waiting) check();
  }

  /** The first item, also an earlier one, that `matches` accepts. */
  find(matches, what) {
    return this.until(() => this.all.find(matches), what);
  }

  /** Waits until `look` returns a result; it is called whenever the list grows. `what` names it in an error, or is a function that does. */
  async until(look, what = 'the items') {
    const name = () => (typeof what === 'function' ? what() : what);
    const found = look();
    if (found) return found;
    let check;
    const waited = new Promise((resolve) => {
      check = () => {
        const now = look();
        if (now) resolve(now);
      };
      this.#waiting.add(check);
    });
    try {
      return await within(PATIENCE_MS, waited, () => `${name()} did not arrive; ${this.all.length} others did`);
    } finally {
      this.#waiting.delete(check);
    }
  }
}

/** The messages of a target that a connection receives: each is the list of its arguments. */
export class Messages extends Growing {
  constructor(connection, target) {
    super();
    connection?.on(target, (...message) => this.push(message));
  }

  /** The first message, also an earlier one, that `matches` accepts. */
  find(matches, what = 'the message') {
    return this.until(() => this.all.find((message) => matches(...message)), what);
  }
}

/** The next time that something happens to a connection, such as `onreconnected`. */
export function happens(connection, event) {
  return within(PATIENCE_MS, new Promise((resolve) => connection[event](resolve)), () => `no ${event}`);
}

/** Repeats a call until its result is not undefined. */
export async function eventually(ask, what) {
  const end = Date.now() + PATIENCE_MS;
  let last;
  while (Date.now() < end) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${what} did not happen in time`, { cause: last });
}
