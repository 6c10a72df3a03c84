'use strict';

// An app without packages whose worker is ended in several ways. It brings the smallest programming model, as `stand-in`.

const core = require('@azure/functions-core');

core.setProgrammingModel({
    name: 'crashing',
    version: '1',
    getInvocationModel: (context) => ({
        getArguments: async () => ({ context, inputs: context.request.inputData.map(({ data }) => data) }),
        invokeFunction: async (given, inputs, callback) => callback(...inputs),
        getResponse: async (given, result) => ({ invocationId: given.invocationId, returnValue: result }),
    }),
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function http(name, callback) {
    const bindings = {
        req: { type: 'httpTrigger', direction: 'in', authLevel: 'anonymous', methods: ['GET'], route: `${name}/{n?}` },
        $return: { type: 'http', direction: 'out' },
    };
    core.registerFunction({ name, bindings }, async (request) => {
        const text = await callback(request.http.params.n);
        return { http: { statusCode: '200', body: { string: String(text) } } };
    });
}

http('work', async (n) => {
    await pause(2);
    return n;
});
http('slow', async (n) => {
    await pause(200);
    return n;
});
// Blocks the event loop for some milliseconds.
http('busy', (n) => {
    const end = Date.now() + Number(n);
    while (Date.now() < end);
    return n;
});
http('pid', async () => {
    await pause(20);
    return process.pid;
});
const memory = [];
http('grow', (n) => {
    memory.push(Buffer.alloc(Number(n) << 20, 1));
    return memory.length;
});
// An error that nobody catches ends the process.
http('crash', () => new Promise(() => setImmediate(() => { throw new Error('nobody catches this'); })));
http('exit', () => process.exit(3));

const bindings = {
    items: { type: 'feedTrigger', direction: 'in' },
    $return: { type: 'feed', direction: 'out' },
};
core.registerFunction({ name: 'events', bindings }, async (items) => {
    await pause(5);
    return { json: items.string ?? items.json };
});
