'use strict';

// One invocation: from the request of the host, through the programming model and the hooks of the app, to the response.

const { decodeValue, encodeValue } = require('./frames');
const { systemError, toException } = require('./errors');

function toCoreRequest(request, body) {
    const triggerMetadata = {};
    for (const [name, value] of Object.entries(request.triggerMetadata)) triggerMetadata[name] = decodeValue(value, body);
    return {
        invocationId: request.invocationId,
        functionId: request.functionId,
        inputData: request.inputData.map(({ name, data }) => ({ name, data: decodeValue(data, body) })),
        triggerMetadata,
        traceContext: request.traceContext,
        retryContext: request.retryContext,
    };
}

/** The invocation context for the programming model. */
class CoreContext {
    state = undefined;
    #app;
    #send;

    constructor(app, request, metadata, send) {
        this.#app = app;
        this.#send = send;
        this.invocationId = request.invocationId;
        this.request = request;
        this.metadata = metadata;
    }

    log(level, category, message) {
        const invocationContext = this.invocationContext;
        const record = this.#app.runLogHooks({ level, category, message, invocationContext });
        this.#send({ ...record, invocationId: this.invocationId, source: `${this.metadata.name}.Invocation` });
    }
}

function readOnly(target, values) {
    for (const [name, get] of Object.entries(values)) {
        const set = () => {
            throw systemError(`Cannot assign to read only property '${name}'`, TypeError);
        };
        Object.defineProperty(target, name, { get, set, enumerable: true });
    }
    return target;
}

/** Adds the signal that aborts when the invocation is cancelled, if the library has none of its own. */
function addSignal(target, signal) {
    if (target === null || typeof target !== 'object' || 'signal' in target) return;
    Object.defineProperty(target, 'signal', { value: signal, enumerable: true, configurable: true });
}

async function runFunction(app, core, callback, signal) {
    const model = await app.model.getInvocationModel(core);
    const { context, inputs } = await model.getArguments();
    core.invocationContext = context;
    addSignal(context, signal);
    if (isHttp(core)) addSignal(inputs[0], signal);
    const hookData = {};
    const shared = { hookData: () => hookData, appHookData: () => app.appHookData, invocationContext: () => context };

    const before = readOnly({ functionCallback: callback, inputs }, shared);
    core.state = 'preInvocationHooks';
    await app.runHooks('preInvocation', before);

    const after = readOnly({ inputs: before.inputs, result: null, error: null }, shared);
    core.state = 'invocation';
    try {
        after.result = await model.invokeFunction(context, before.inputs, before.functionCallback);
    } catch (thrown) {
        // `throw undefined` is a failure too, and hooks recognise a failure by `error`.
        after.error = thrown ?? new Error('Unknown error');
    }
    core.state = 'postInvocationHooks';
    await app.runHooks('postInvocation', after);
    core.state = undefined;

    if (after.error !== null && after.error !== undefined) throw after.error;
    return model.getResponse(context, app.httpStreams.paced(core.invocationId, after.result, signal));
}

function isHttp(core) {
    return core.request.inputData.some(({ data }) => data.http);
}

/** Runs an invocation and gives the header of the response; never throws. `signal` aborts when the invocation is cancelled. */
async function invoke(app, request, requestBody, body, send, signal) {
    const { invocationId, functionId } = request;
    const outputData = [];
    try {
        const found = app.functions.get(functionId);
        if (!found) throw systemError(`The function '${functionId}' is not loaded.`);
        const core = new CoreContext(app, toCoreRequest(request, requestBody), found.metadata, send);
        const response = await runFunction(app, core, found.callback, signal);
        for (const { name, data } of response.outputData ?? []) outputData.push({ name, data: encodeValue(data, body) });
        const answer = { invocationId, outputData, result: { status: 'success' } };
        if (response.returnValue !== undefined) answer.returnValue = encodeValue(response.returnValue, body);
        return { invoked: answer };
    } catch (thrown) {
        return { invoked: { invocationId, result: { status: 'failure', exception: toException(thrown) } } };
    }
}

module.exports = { invoke };
