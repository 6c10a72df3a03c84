'use strict';

// One invocation: from the request of the host, through the programming model and the hooks of the app, to the response.

const { decodeValue, encodeValue } = require('./frames');
const { systemError, toException } = require('./errors');
const { addNativeRequest, withNativeResponse } = require('./native-http');

/** Replaces the values of a request by those that programming models expect. The request belongs to the caller of this file only. */
function toCoreRequest(request, body) {
    const { triggerMetadata, inputData } = request;
    for (const name in triggerMetadata) triggerMetadata[name] = decodeValue(triggerMetadata[name], body);
    for (const input of inputData) {
        input.data = decodeValue(input.data, body);
        if (input.data.http) addNativeRequest(input.data.http);
    }
    return request;
}

/** The cancellation of one invocation. Its signal is made when the function asks for it. */
class Cancellation {
    #controller = undefined;
    #reason = undefined;

    get signal() {
        if (!this.#controller) {
            this.#controller = new AbortController();
            if (this.#reason) this.#controller.abort(this.#reason);
        }
        return this.#controller.signal;
    }

    abort(reason) {
        this.#reason = reason;
        this.#controller?.abort(reason);
    }
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

const CANCELLATION = Symbol('cancellation');

// One getter for all objects: a getter for each would give each object a shape of its own.
const SIGNAL = {
    get() {
        return this[CANCELLATION].signal;
    },
    enumerable: true,
    configurable: true,
};

/** Adds the signal that aborts when the invocation is cancelled, if the library has none of its own. */
function addSignal(target, cancellation) {
    if (target === null || typeof target !== 'object' || 'signal' in target) return;
    Object.defineProperty(target, CANCELLATION, { value: cancellation });
    Object.defineProperty(target, 'signal', SIGNAL);
}

/** Runs a function with the hooks of the app around it, and gives its result. */
async function callWithHooks(app, core, model, context, inputs, callback) {
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
    return after.result;
}

async function runFunction(app, core, callback, cancellation) {
    const model = await app.model.getInvocationModel(core);
    const { context, inputs } = await model.getArguments();
    core.invocationContext = context;
    addSignal(context, cancellation);
    const isHttp = core.request.inputData.some(({ data }) => data.http);
    if (isHttp) addSignal(inputs[0], cancellation);
    let result;
    if (app.hooks.preInvocation.length > 0 || app.hooks.postInvocation.length > 0) {
        result = await callWithHooks(app, core, model, context, inputs, callback);
    } else {
        core.state = 'invocation';
        result = await model.invokeFunction(context, inputs, callback);
        core.state = undefined;
    }
    if (app.httpStreams.isUsed) result = app.httpStreams.paced(core.invocationId, result, cancellation);
    else if (isHttp) result = withNativeResponse(result);
    return model.getResponse(context, result);
}

/** Runs an invocation and gives the header of the response; never throws. */
async function invoke(app, request, requestBody, body, send, cancellation) {
    const { invocationId, functionId } = request;
    const outputData = [];
    try {
        const found = app.functions.get(functionId);
        if (!found) throw systemError(`The function '${functionId}' is not loaded.`);
        const core = new CoreContext(app, toCoreRequest(request, requestBody), found.metadata, send);
        const response = await runFunction(app, core, found.callback, cancellation);
        for (const { name, data } of response.outputData ?? []) outputData.push({ name, data: encodeValue(data, body) });
        const answer = { invocationId, outputData, result: { status: 'success' } };
        if (response.returnValue !== undefined) answer.returnValue = encodeValue(response.returnValue, body);
        return { invoked: answer };
    } catch (thrown) {
        return { invoked: { invocationId, result: { status: 'failure', exception: toException(thrown) } } };
    }
}

module.exports = { Cancellation, invoke };
