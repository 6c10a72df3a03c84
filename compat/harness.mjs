// Starts, kills and restarts the built binary, and creates real clients for it.
//
// CHAPPE_BIN names the binary; without it, the debug build of this checkout is used.

import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import * as signalR from '@microsoft/signalr';
import { MessagePackHubProtocol } from '@microsoft/signalr-protocol-msgpack';

import { within } from './realtime/waiting.mjs';

export { Messages, eventually, happens } from './realtime/waiting.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const binary = process.env.CHAPPE_BIN ?? path.join(here, '../target/debug/chappe');

/** The example app, which is also the app of these tests. */
export const EXAMPLE = path.join(here, '../examples/live-documents');

/** The emulators' public keys: accepted on loopback only. */
export const SIGNALR_KEY = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGH';
export const COSMOS_KEY =
  'C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==';

const READY_MS = 30_000;
const LOG_LINES_MAX = 40;

/** A port that was free a moment ago, for a process that must know its port before it listens. */
export async function freePort() {
  const server = createServer().listen(0, 'localhost');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** A running process of the binary, with a data folder that outlives it. */
export class Chappe {
  #child = null;
  #arguments;
  #listen = { gateway: 'localhost:0', functions: 'localhost:0', realtime: 'localhost:0', documents: 'localhost:0' };
  #log = [];
  /** All lines that its processes have printed on standard error. */
  printed = [];
  #env = {};

  /** Starts the binary with an app, or without functions where none is named; `settings` are further `--set`
   *  values, `env` is added to the environment, `listen` names other addresses
   *  than free ports of localhost, `flags` are further arguments. */
  static async start({ app, settings = [], env = {}, listen = {}, flags = [] } = {}) {
    const chappe = new Chappe();
    Object.assign(chappe.#listen, listen);
    chappe.#env = env;
    chappe.dataDir = await mkdtemp(path.join(tmpdir(), 'chappe-compat-'));
    chappe.#arguments = ['start', app ?? chappe.dataDir, '--json', '--data-dir', path.join(chappe.dataDir, 'data')];
    if (!app) chappe.#arguments.push('--no-functions');
    chappe.#arguments.push(...settings.flatMap((setting) => ['--set', setting]), ...flags);
    await chappe.run();
    return chappe;
  }

  /** Starts the process, again on the ports of the first time. */
  async run() {
    const listen = Object.entries(this.#listen).flatMap(([name, at]) => ['--set', `listen.${name}=${at}`]);
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('CHAPPE_'));
    const env = { ...Object.fromEntries(inherited), ...this.#env };
    const child = spawn(binary, [...this.#arguments, ...listen], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    this.exited = once(child, 'exit');
    createInterface({ input: child.stderr }).on('line', (line) => this.#keep(line));
    const ready = await this.#readyLine(child);
    this.pid = ready.pid;
    this.urls = ready.urls;
    this.facts = ready;
    for (const name of Object.keys(this.#listen)) {
      if (ready.urls[name]) this.#listen[name] = this.#listen[name].replace(/\d+$/, new URL(ready.urls[name]).port);
    }
  }

  /** Ends the process as `kill -9` does, and waits until it is gone. */
  async kill() {
    this.#child.kill('SIGKILL');
    await this.exited;
  }

  /** Asks the process to end, and waits for it; its exit code. */
  async drain() {
    this.#child.kill('SIGTERM');
    const [code] = await this.exited;
    return code;
  }

  /** Ends the process, if it runs, and removes its data folder. */
  async stop() {
    if (this.#child?.exitCode === null && this.#child.signalCode === null) {
      this.#child.kill('SIGTERM');
      const cut = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
      await this.exited;
      clearTimeout(cut);
    }
    await rm(this.dataDir, { recursive: true, force: true });
  }

  /** The last lines that the process logged, for the message of a failed test. */
  get log() {
    return this.#log.join('\n');
  }

  async info() {
    return getJson(`${this.urls.gateway}/chappe/api/info`);
  }

  async functionLog(after = 0) {
    const { lines } = await getJson(`${this.urls.gateway}/chappe/api/logs?after=${after}`);
    return lines;
  }

  #keep(line) {
    this.printed.push(line);
    this.#log.push(line);
    if (this.#log.length > LOG_LINES_MAX) this.#log.shift();
  }

  async #readyLine(child) {
    const lines = createInterface({ input: child.stdout });
    const found = new Promise((resolve, reject) => {
      lines.on('line', (line) => {
        const parsed = parse(line);
        if (parsed?.ready) resolve(parsed);
      });
      child.on('error', (cause) => reject(new Error(`${binary} could not be started: ${cause.message}`)));
      child.on('exit', (code, signal) => reject(new Error(`it ended with ${code ?? signal} before it was ready\n${this.log}`)));
    });
    return within(READY_MS, found, () => `it was not ready in time\n${this.log}`);
  }
}

/** A JSON web token signed with a shared key, as callers of the service create it without an SDK. */
export function token({ audience, key = SIGNALR_KEY, lifetimeSeconds = 3600, claims = {} }) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const seconds = Math.floor(Date.now() / 1000);
  const head = part({ alg: 'HS256', typ: 'JWT' });
  const body = part({ aud: audience, iat: seconds, exp: seconds + lifetimeSeconds, ...claims });
  const signature = createHmac('sha256', key).update(`${head}.${body}`).digest('base64url');
  return `${head}.${body}.${signature}`;
}

/** A client of a hub, which has not been started: to the service itself, or to an app's negotiate function. */
export function client(url, { accessToken, protocol = 'json', retry = true, transport } = {}) {
  const options = { logMessageContent: false };
  if (accessToken) options.accessTokenFactory = () => accessToken;
  if (transport) Object.assign(options, { transport, skipNegotiation: true });
  const builder = new signalR.HubConnectionBuilder().withUrl(url, options).configureLogging(signalR.LogLevel.None);
  if (protocol === 'messagepack') builder.withHubProtocol(new MessagePackHubProtocol());
  if (retry) builder.withAutomaticReconnect({ nextRetryDelayInMilliseconds: () => 100 });
  return builder.build();
}

export async function getJson(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`GET ${url} was answered with ${response.status}: ${await response.text()}`);
  return response.json();
}

function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return null;
  }
}
