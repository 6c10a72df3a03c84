'use strict';

// The virtual module `@azure/functions-core`: through which programming models (the package `@azure/functions`)
// access the platform.

const Module = require('node:module');
const path = require('node:path');
const { systemError } = require('./errors');
const { HttpStreams } = require('./http-stream');

const HOOKS = ['preInvocation', 'postInvocation', 'appStart', 'appTerminate', 'log'];

class Disposable {
    #onDispose;

    constructor(onDispose) {
        this.#onDispose = onDispose;
    }

    static from(...disposables) {
        return new Disposable(() => disposables.forEach((one) => one?.dispose?.()));
    }

    dispose() {
        const onDispose = this.#onDispose;
        this.#onDispose = undefined;
        return onDispose?.();
    }
}

/** What an app registered. */
class AppState {
    model = undefined;
    functions = new Map();
    hooks = Object.fromEntries(HOOKS.map((name) => [name, []]));
    httpStreams = new HttpStreams();
    appHookData = {};
    appOnlyHookData = {};
    hostVersion = undefined;
    // The entry point that is being loaded, for its registrations.
    entryPoint = undefined;
    // Set when the host has asked for the functions: later registrations would be ignored.
    isLocked = false;
    isInLogHook = false;

    /** Calls the app's hooks of a kind, one after the other. */
    async runHooks(name, context) {
        for (const hook of [...this.hooks[name]]) await hook(context);
    }

    /** Lets the app's log hooks change a record. A record that a hook writes is not passed to hooks. */
    runLogHooks(record) {
        if (this.hooks.log.length === 0 || this.isInLogHook) return record;
        this.isInLogHook = true;
        try {
            for (const hook of [...this.hooks.log]) hook(record);
        } finally {
            this.isInLogHook = false;
        }
        return record;
    }
}

function toMs(duration) {
    if (!duration) return null;
    return Number(duration.seconds ?? 0) * 1000 + Number(duration.nanos ?? 0) / 1e6;
}

function toRetryOptions(retry) {
    if (!retry) return null;
    return {
        maxRetryCount: retry.maxRetryCount ?? 0,
        retryStrategy: retry.retryStrategy ?? 'exponentialBackoff',
        delayIntervalMs: toMs(retry.delayInterval),
        minimumIntervalMs: toMs(retry.minimumInterval),
        maximumIntervalMs: toMs(retry.maximumInterval),
    };
}

/** The metadata of a function in the form that the host receives. */
function toHostMetadata(metadata, functionId, entryPoint) {
    // The library puts the options of a binding beside its type and direction; all of it is the binding's configuration.
    const rawBindings = Object.entries(metadata.bindings ?? {}).map(([name, binding]) => JSON.stringify({ ...binding, name }));
    return {
        name: metadata.name,
        functionId,
        directory: entryPoint ? path.dirname(entryPoint) : '',
        scriptFile: entryPoint ? path.basename(entryPoint) : 'unknown',
        language: 'node',
        rawBindings,
        retryOptions: toRetryOptions(metadata.retryOptions),
        properties: metadata.properties ?? {},
    };
}

function createCoreApi(app, workerVersion, log) {
    return {
        version: workerVersion,
        get hostVersion() {
            if (!app.hostVersion) throw systemError('The host version is not known before the worker is initialised.');
            return app.hostVersion;
        },
        Disposable,
        log(level, category, message) {
            log(app.runLogHooks({ level, category, message }));
        },
        setProgrammingModel(model) {
            app.model = model;
        },
        getProgrammingModel() {
            return app.model;
        },
        registerHook(name, callback) {
            const hooks = app.hooks[name];
            if (!hooks) throw systemError(`Unrecognized hook "${name}"`, RangeError);
            hooks.push(callback);
            return new Disposable(() => {
                const at = hooks.indexOf(callback);
                if (at >= 0) hooks.splice(at, 1);
            });
        },
        registerFunction(metadata, callback) {
            if (app.isLocked) {
                throw systemError(`Function "${metadata.name}" is registered too late: functions can only be registered while the app starts.`);
            }
            const functionId = metadata.functionId || metadata.name;
            if (app.functions.has(functionId)) {
                throw systemError(`A function with id "${functionId}" has already been registered; give each function its own name.`);
            }
            app.functions.set(functionId, { metadata, callback, host: toHostMetadata(metadata, functionId, app.entryPoint) });
            return new Disposable(() => {
                if (app.isLocked) throw systemError('A function can only be disposed while the app starts.');
                app.functions.delete(functionId);
            });
        },
    };
}

/** Makes `require('@azure/functions-core')` return this module in every file. */
function install(coreApi) {
    const load = Module._load;
    Module._load = function chappeLoad(request, ...rest) {
        return request === '@azure/functions-core' ? coreApi : Reflect.apply(load, this, [request, ...rest]);
    };
}

module.exports = { AppState, createCoreApi, install };
