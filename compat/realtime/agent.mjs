// A client in another language, in a separate process, with the interface that scenarios use.
//
// The process reads commands and writes answers and events, each a line of JSON:
//   {"id": 1, "client": "c1", "do": "invoke", "target": "add", "args": [2, 3]}   ->   {"id": 1, "value": 5} or {"id": 1, "error": "…"}
//   events: {"client": "c1", "event": "news", "args": […]}, {"client": "c1", "event": "life", "what": "closed", "detail": "…"}

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

import { Growing, Messages, within, PATIENCE_MS } from './waiting.mjs';

export class Agent {
  #child;
  #waiting = new Map();
  #clients = new Map();
  #numbers = 0;

  /** Starts the program; its standard error is included in error messages. */
  constructor(command, args, options = {}) {
    this.#child = spawn(command, args, { ...options, stdio: ['pipe', 'pipe', 'pipe'] });
    this.complaints = '';
    this.#child.stderr.on('data', (text) => { this.complaints = (this.complaints + text).slice(-4000); });
    this.#child.on('error', (error) => this.#fail(error.message));
    this.#child.on('exit', (code, signal) => this.#fail(`it ended with ${code ?? signal}`));
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#take(JSON.parse(line)));
  }

  /** Makes a started client; for stages of scenarios. */
  connect = async ({ url, accessToken, transport, protocol }) => {
    this.#numbers += 1;
    const client = new AgentClient(this, `c${this.#numbers}`);
    this.#clients.set(client.name, client);
    client.id = (await client.ask('start', { url, accessToken, transport, protocol })) ?? undefined;
    return client;
  };

  /** Sends a command, and waits for its response. */
  ask(client, what, more = {}) {
    this.#numbers += 1;
    const id = this.#numbers;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#child.stdin.write(`${JSON.stringify({ id, client, do: what, ...more })}\n`);
    return within(PATIENCE_MS, answer, () => `${what} was not answered\n${this.complaints}`);
  }

  stop() {
    this.#child.stdin.end();
    this.#child.kill();
  }

  #take({ id, value, error, client, event, ...more }) {
    if (event) return this.#clients.get(client)?.take(event, more);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(error));
    return undefined;
  }

  #fail(why) {
    for (const { reject } of this.#waiting.values()) reject(new Error(`${why}\n${this.complaints}`));
    this.#waiting.clear();
  }
}

class AgentClient {
  #agent;
  messages = new Messages();
  life = new Growing();

  constructor(agent, name) {
    this.#agent = agent;
    this.name = name;
  }

  ask(what, more) {
    return this.#agent.ask(this.name, what, more);
  }

  take(event, { args, what, detail }) {
    if (event === 'news') this.messages.push(args);
    else this.life.push({ what, detail });
  }

  invoke(target, ...args) {
    return this.ask('invoke', { target, args });
  }

  run(target, ...args) {
    return this.ask('run', { target, args });
  }

  send(target, ...args) {
    return this.ask('send', { target, args });
  }

  stream(target, args, take = 0) {
    return this.ask('stream', { target, args, take });
  }

  upload(target, args, items, failure) {
    return this.ask('upload', { target, args, items, failure });
  }

  stop() {
    return this.ask('stop');
  }

  async closed() {
    return (await this.life.find(({ what }) => what === 'closed', 'the end of the connection')).detail;
  }
}
