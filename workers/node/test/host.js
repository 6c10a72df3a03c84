'use strict';

// A minimal host: starts the worker on an app's folder and exchanges frames with it.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { Body, Decoder, decodeValue, encode, encodeValue } = require('../frames');

const BYTES_MAX = 1 << 20;

/** A folder that is removed at the end of the tests. */
function makeFolder(prefix) {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), prefix));
    process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
    return folder;
}
process.setMaxListeners(0);

/** Creates a folder with these files (path -> text) and returns its path. */
function makeApp(files) {
    const directory = makeFolder('chappe-node-app-');
    for (const [name, text] of Object.entries(files)) {
        fs.mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
        fs.writeFileSync(path.join(directory, name), text);
    }
    return directory;
}

class Host {
    logs = [];
    output = '';
    #waiting = [];

    static async start(app, env = {}) {
        const host = new Host();
        const folder = makeFolder('chappe-node-host-');
        const server = net.createServer();
        await new Promise((resolve) => server.listen(path.join(folder, 's'), resolve));
        const connection = new Promise((resolve) => server.once('connection', resolve));
        host.process = spawn(process.execPath, [path.join(__dirname, '..', 'main.js')], {
            cwd: app,
            env: {
                PATH: process.env.PATH,
                ...env,
                CHAPPE_WORKER_ADDRESS: path.join(folder, 's'),
                CHAPPE_WORKER_TOKEN: 'secret',
                CHAPPE_WORKER_ID: 'w1',
                CHAPPE_WORKER_FRAME_BYTES_MAX: String(BYTES_MAX),
            },
        });
        for (const stream of [host.process.stdout, host.process.stderr]) {
            stream.on('data', (chunk) => (host.output += chunk));
        }
        host.ended = new Promise((resolve) => host.process.once('exit', (code) => resolve(code)));
        const died = host.ended.then((code) => Promise.reject(new Error(`worker ended with ${code}: ${host.output}`)));
        died.catch(() => {});
        host.socket = await Promise.race([connection, died]);
        server.close();
        const decoder = new Decoder(BYTES_MAX);
        host.socket.on('data', (chunk) => decoder.push(chunk, (head, body) => host.#take(head, body)));
        host.hello = await host.next('start');
        host.send({ init: { hostVersion: '4.1.0', capabilities: {}, functionAppDirectory: app } });
        host.init = await host.next('init');
        return host;
    }

    #take(head, body) {
        const [kind] = Object.keys(head);
        if (kind === 'log') this.logs.push(head.log);
        const at = this.#waiting.findIndex((one) => one.matches(kind, head[kind]));
        if (at >= 0) this.#waiting.splice(at, 1)[0].resolve({ ...head[kind], body });
        else if (kind !== 'log') throw new Error(`nobody waits for ${JSON.stringify(head)}`);
    }

    next(kind, matches = () => true) {
        return new Promise((resolve) => {
            this.#waiting.push({ matches: (found, message) => found === kind && matches(message), resolve });
        });
    }

    send(head, body = new Body()) {
        this.socket.write(Buffer.concat(encode(head, body, BYTES_MAX)));
    }

    async metadata() {
        const answer = this.next('metadata');
        this.send({ metadata: { functionAppDirectory: '' } });
        return answer;
    }

    async load(functionId) {
        const answer = this.next('load');
        this.send({ load: { functionId, metadata: {} } });
        return answer;
    }

    /** Calls a function. `inputs` are values of the core API by binding name. */
    async invoke(functionId, inputs, more = {}) {
        const invocationId = more.invocationId ?? `i-${Math.random()}`;
        const body = new Body();
        const inputData = Object.entries(inputs).map(([name, data]) => {
            const value = data.http ? { http: { ...data.http, body: encodeValue(data.http.body, body) } } : encodeValue(data, body);
            return { name, data: value };
        });
        const triggerMetadata = {};
        for (const [name, data] of Object.entries(more.triggerMetadata ?? {})) triggerMetadata[name] = encodeValue(data, body);
        const traceContext = { traceParent: more.traceParent ?? '', traceState: '', attributes: {} };
        const answer = this.next('invoked', (message) => message.invocationId === invocationId);
        const retryContext = more.retryContext ?? null;
        this.send({ invoke: { invocationId, functionId, inputData, triggerMetadata, traceContext, retryContext } }, body);
        const response = await answer;
        response.returned = decodeValue(response.returnValue, response.body);
        response.outputs = Object.fromEntries((response.outputData ?? []).map(({ name, data }) => [name, decodeValue(data, response.body)]));
        return response;
    }

    /** An HTTP request as the core API has it. */
    static http(method, url, text, headers = {}) {
        const query = Object.fromEntries(new URL(url).searchParams);
        const body = text === undefined ? undefined : { bytes: Buffer.from(text) };
        return { http: { method, url, headers, body, query, params: {}, identities: [] } };
    }

    /** The messages of an invocation's log records. */
    logsOf(invocationId) {
        return this.logs.filter((log) => log.invocationId === invocationId).map((log) => `${log.level}: ${log.message}`);
    }

    async terminate() {
        this.send({ terminate: { graceMs: 5000 } });
        return this.ended;
    }
}

module.exports = { Host, makeApp };
