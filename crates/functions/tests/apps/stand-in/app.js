'use strict';

// An app without packages: it registers its functions with the platform's own module, and brings the smallest programming
// model. (The real library is proved by compat/functions-worker.)

const { spawn } = require('node:child_process');
const core = require('@azure/functions-core');

core.setProgrammingModel({
    name: 'stand-in',
    version: '1',
    getInvocationModel: (context) => ({
        getArguments: async () => ({ context, inputs: context.request.inputData.map(({ data }) => data) }),
        invokeFunction: async (given, inputs, callback) => callback(...inputs, given),
        getResponse: async (given, result) => ({ invocationId: given.invocationId, returnValue: result }),
    }),
});

function register(name, callback) {
    const bindings = { item: { type: 'manualTrigger', direction: 'in' } };
    core.registerFunction({ name, bindings }, callback);
}

register('echo', (data, context) => {
    context.log('information', 'user', 'first');
    console.warn('second');
    context.log('debug', 'user', 'third');
    return data;
});
register('environment', () => ({ json: JSON.stringify(process.env) }));
register('pid', () => ({ int: process.pid }));
register('fails', () => { throw new Error('as asked'); });
register('crashes', () => new Promise(() => setImmediate(() => { throw new Error('nobody catches this'); })));
register('exits', () => process.exit(7));
register('hangs', () => { for (;;); });
register('waits', () => new Promise(() => {}));
register('stops', (data, context) => new Promise((resolve) => {
    process.stdout.write('it waits\n');
    context.signal.addEventListener('abort', () => process.stdout.write('it stops\n', () => resolve(null)));
}));
register('later', () => new Promise((resolve) => setTimeout(() => resolve({ int: process.pid }), 1500)));
register('starts', () => {
    const child = spawn('sleep', ['1000'], { stdio: 'inherit' });
    return { int: child.pid };
});
register('prints', () => new Promise((resolve) => process.stdout.write('plain line\n', () => resolve(null))));
