'use strict';

// Runs the functions of one app for a Chappe host. The host starts this file, and the worker connects to it:
//
//   CHAPPE_WORKER_ADDRESS          path of a Unix socket, or host:port
//   CHAPPE_WORKER_TOKEN            secret that proves that this is the process that the host started
//   CHAPPE_WORKER_ID               id of this worker
//   CHAPPE_WORKER_FRAME_BYTES_MAX  largest frame
//
// Exit codes: 0 the host asked for it or is gone; 1 uncaught error; 2 the environment above is missing or the host cannot be
// reached; 3 this Node.js is too old (main.js).

const net = require('node:net');
const util = require('node:util');
const { AsyncLocalStorage } = require('node:async_hooks');
const { AppState, createCoreApi, install } = require('./core-api');
const { loadApp, explainNoFunctions } = require('./app');
const { Body, Decoder, VERSION } = require('./frames');
const { Cancellation, invoke } = require('./invoke');
const { Outgoing } = require('./outgoing');
const { stackOf, toError, toException } = require('./errors');

const WORKER_VERSION = '4.0.0';
const CAPABILITIES = {
    RawHttpBodyBytes: 'true',
    RpcHttpBodyOnly: 'true',
    RpcHttpTriggerMetadataRemoved: 'true',
    TypedDataCollection: 'true',
    UseNullableValueDictionaryForHttp: 'true',
    IgnoreEmptyValuedRpcHttpHeaders: 'true',
    WorkerStatus: 'true',
    HandlesWorkerTerminateMessage: 'true',
    HandlesInvocationCancelMessage: 'true',
};

/** Reads a variable and removes it from the environment, as the app and its child processes must not see it. */
function consumeVariable(name) {
    const value = process.env[name];
    delete process.env[name];
    if (value === undefined) {
        process.stderr.write(`LanguageWorkerConsoleLog[error] ${name} is not set; this file is started by a Chappe host\n`);
        process.exit(2);
    }
    return value;
}

function connect(address) {
    const match = /^([0-9.]+|\[[0-9a-f:]+\]):(\d+)$/.exec(address);
    const socket = match ? net.connect({ host: match[1], port: Number(match[2]) }) : net.connect(address);
    socket.setNoDelay(true);
    return socket;
}

class Worker {
    #socket;
    #bytesMax;
    #outgoing;
    #invocations = new AsyncLocalStorage();
    // The cancellations of active invocations.
    #cancels = new Map();
    #app = new AppState();
    #startError = undefined;
    #loaded = { packageJson: undefined };
    #directory = process.cwd();
    #isEnding = false;

    constructor(socket, bytesMax) {
        this.#socket = socket;
        this.#bytesMax = bytesMax;
        this.#outgoing = new Outgoing(socket, bytesMax);
        install(createCoreApi(this.#app, WORKER_VERSION, (record) => this.#log(record)));
        this.#captureConsole();
        process.on('uncaughtException', (thrown) => this.#crash(thrown));
    }

    /** Serves the host until the connection or this process ends. */
    run(token, workerId) {
        const decoder = new Decoder(this.#bytesMax);
        this.#outgoing.send({ start: { version: VERSION, token, workerId } });
        this.#socket.on('data', (chunk) => decoder.push(chunk, (head, body) => this.#receive(head, body)));
        // Without a host there is nothing to do, and nobody would stop this process.
        this.#socket.on('close', () => process.exit(0));
    }

    #log({ level, category, message, invocationId, source }) {
        // A library may log values of any type; logging must never fail.
        const text = typeof message === 'string' ? message : util.format(message);
        const record = { level, logCategory: category, message: text };
        if (invocationId) record.invocationId = invocationId;
        if (source) record.category = source;
        this.#outgoing.log(record);
    }

    /** Assigns the output of `console` to the invocation that calls it; a line on standard output has no invocation. */
    #captureConsole() {
        const levels = { log: 'information', info: 'information', warn: 'warning', error: 'error', debug: 'debug', trace: 'trace' };
        for (const [name, level] of Object.entries(levels)) {
            console[name] = (...args) => {
                const current = this.#invocations.getStore();
                let message = util.format(...args);
                if (name === 'trace') message = new Error(message).stack.replace(/^Error/, 'Trace');
                this.#log({ level, category: 'user', message, invocationId: current?.invocationId, source: current?.source });
            };
        }
    }

    #crash(thrown) {
        const current = this.#invocations.getStore();
        const where = current ? ` in ${current.source}` : '';
        const message = `Uncaught error${where}; the worker process ends: ${stackOf(toError(thrown))}`;
        const record = { level: 'critical', logCategory: 'user', message, exception: toException(thrown) };
        if (current) Object.assign(record, { invocationId: current.invocationId, category: current.source });
        const end = () => process.exit(1);
        // The reason may be that the host is gone.
        setTimeout(end, 1000);
        try {
            this.#outgoing.flush();
            this.#outgoing.send({ log: record }, new Body(), end);
        } catch {
            end();
        }
    }

    #receive(head, body) {
        const [kind] = Object.keys(head);
        const message = head[kind];
        switch (kind) {
            case 'init':
                return void this.#init(message);
            case 'metadata':
                return this.#metadata();
            case 'load':
                return this.#load(message);
            case 'invoke':
                return this.#invoke(message, body);
            case 'cancel':
                return this.#cancels.get(message.invocationId)?.abort(new Error('The invocation was cancelled.'));
            case 'status':
                return this.#outgoing.send({ status: {} });
            case 'terminate':
                return void this.#terminate();
            default:
                // A later host may send further messages.
                return undefined;
        }
    }

    async #init(request) {
        this.#app.hostVersion = request.hostVersion;
        this.#directory = request.functionAppDirectory || this.#directory;
        let capabilities = { ...CAPABILITIES };
        try {
            this.#loaded = await loadApp(this.#app, this.#directory);
            const context = { hookData: this.#app.appOnlyHookData, appHookData: this.#app.appHookData, functionAppDirectory: this.#directory };
            await this.#app.runHooks('appStart', context);
            const { model, httpStreams } = this.#app;
            capabilities = (await httpStreams.watch(() => model?.getCapabilities?.(capabilities))) ?? capabilities;
        } catch (thrown) {
            // The worker works, the app does not: reported when the host asks for the functions of the app.
            this.#startError = toException(thrown);
        }
        const model = this.#app.model;
        const workerMetadata = {
            runtimeName: 'node',
            runtimeVersion: process.versions.node,
            workerVersion: WORKER_VERSION,
            workerBitness: process.arch,
            customProperties: model ? { modelName: String(model.name), modelVersion: String(model.version) } : {},
        };
        this.#outgoing.send({ init: { capabilities, workerMetadata, result: { status: 'success' } } });
    }

    #metadata() {
        this.#app.isLocked = true;
        if (!this.#startError && this.#app.functions.size === 0) {
            const message = explainNoFunctions(this.#directory, this.#loaded);
            this.#startError = { message, stackTrace: '', type: 'Error', isUserException: false };
        }
        if (this.#startError) {
            this.#outgoing.send({ metadata: { functions: [], result: { status: 'failure', exception: this.#startError } } });
            return;
        }
        const functions = [...this.#app.functions.values()].map(({ host }) => host);
        this.#outgoing.send({ metadata: { functions, result: { status: 'success' } } });
    }

    #load({ functionId }) {
        this.#app.isLocked = true;
        let result = { status: 'success' };
        if (this.#startError) result = { status: 'failure', exception: this.#startError };
        else if (!this.#app.functions.has(functionId)) {
            const exception = toException(new Error(`The app registered no function '${functionId}'.`));
            result = { status: 'failure', exception };
        }
        this.#outgoing.send({ load: { functionId, result } });
    }

    #invoke(request, requestBody) {
        const { invocationId, functionId } = request;
        const name = this.#app.functions.get(functionId)?.metadata.name ?? functionId;
        const current = { invocationId, source: `${name}.Invocation` };
        const cancel = new Cancellation();
        this.#cancels.set(invocationId, cancel);
        this.#invocations.run(current, async () => {
            const body = new Body();
            const answer = await invoke(this.#app, request, requestBody, body, (record) => this.#log(record), cancel);
            this.#cancels.delete(invocationId);
            try {
                this.#outgoing.send(answer, body);
            } catch (error) {
                // The message is larger than a frame may be.
                this.#outgoing.send({ invoked: { invocationId, result: { status: 'failure', exception: toException(error) } } });
            }
        });
    }

    async #terminate() {
        if (this.#isEnding) return;
        this.#isEnding = true;
        try {
            await this.#app.runHooks('appTerminate', { hookData: this.#app.appOnlyHookData, appHookData: this.#app.appHookData });
        } catch (thrown) {
            this.#log({ level: 'error', category: 'user', message: `An appTerminate hook failed: ${stackOf(toError(thrown))}` });
        }
        this.#outgoing.flush();
        this.#socket.end(() => process.exit(0));
    }
}

const address = consumeVariable('CHAPPE_WORKER_ADDRESS');
const token = consumeVariable('CHAPPE_WORKER_TOKEN');
const workerId = consumeVariable('CHAPPE_WORKER_ID');
const bytesMax = Number(consumeVariable('CHAPPE_WORKER_FRAME_BYTES_MAX'));
const socket = connect(address);
socket.on('error', (error) => {
    process.stderr.write(`LanguageWorkerConsoleLog[error] connection to the host: ${error.message}\n`);
    process.exit(2);
});
new Worker(socket, bytesMax).run(token, workerId);
