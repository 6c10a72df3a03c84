'use strict';

// Our worker must run apps written for the real library, which is installed beside this file.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { Host, makeApp } = require('../../workers/node/test/host');

const APP = `
const { app, input, output } = require('@azure/functions');
const cosmos = output.cosmosDB({ databaseName: 'd', containerName: 'c', connection: 'Cosmos' });
const message = output.generic({ type: 'signalR', hubName: 'h' });
const connection = input.generic({ type: 'signalRConnectionInfo', hubName: 'h' });

app.hook.appStart((context) => { context.hookData.started = true; });
app.hook.preInvocation((context) => { context.hookData.at = 'before'; context.invocationContext.log('pre'); });
app.hook.postInvocation((context) => {
    context.invocationContext.log('post ' + context.hookData.at);
    if (context.result === 'replace me') context.result = { body: 'replaced' };
});
app.hook.log((context) => { context.message = context.message.replace('password', '***'); });
app.hook.appTerminate((context) => { process.stdout.write('terminated ' + context.hookData.started + '\\n'); });

app.http('hello', {
    methods: ['GET', 'POST'],
    authLevel: 'anonymous',
    route: 'hello/{name}',
    handler: async (request, context) => {
        context.log('got', request.method, 'password');
        context.warn('careful');
        console.log('by console');
        return {
            status: 201,
            headers: { 'x-made': 'here' },
            cookies: [{ name: 'a', value: 'b', sameSite: 'None', maxAge: 60, expires: new Date(1700000000000) }],
            jsonBody: {
                name: request.params.name,
                query: request.query.get('q'),
                header: request.headers.get('x-in'),
                text: await request.text(),
                trace: context.traceContext.traceParent,
                retry: context.retryContext?.retryCount,
                id: context.invocationId,
            },
        };
    },
});
app.http('bytes', { handler: async (request) => ({ body: new Uint8Array(await request.arrayBuffer()) }) });
app.http('fails', { handler: async function inTheApp() { throw new TypeError('bad'); } });
app.http('replaced', { handler: () => 'replace me' });
app.http('huge', { handler: () => ({ body: 'x'.repeat(1 << 20) }) });
app.http('nothing', { handler: () => undefined });
app.http('todos', { extraOutputs: [cosmos], extraInputs: [connection], handler: (request, context) => {
    context.extraOutputs.set(cosmos, [{ id: '1' }]);
    return { jsonBody: context.extraInputs.get(connection) };
} });
app.cosmosDB('changes', {
    connection: 'Cosmos', databaseName: 'd', containerName: 'c', createLeaseContainerIfNotExists: true,
    retry: { strategy: 'fixedDelay', maxRetryCount: 3, delayInterval: { seconds: 2 } },
    return: message,
    handler: (documents, context) => ({ target: 'changed', arguments: [documents.length, context.triggerMetadata] }),
});
app.timer('tick', { schedule: '0 * * * * *', handler: (timer, context) => { context.log('past due', timer.isPastDue); } });
app.generic('numbers', { trigger: { type: 'queueTrigger', name: 'item' }, return: { type: 'queue', name: '$return' }, handler: (item) => item });
`;

function makeRealApp(files, packageJson = { main: 'src/functions/*.js' }) {
    const app = makeApp({ 'package.json': JSON.stringify(packageJson), ...files });
    fs.symlinkSync(path.join(__dirname, 'node_modules'), path.join(app, 'node_modules'));
    return app;
}

async function startApp() {
    return Host.start(makeRealApp({ 'src/functions/app.js': APP }));
}

test('an app of the real library is indexed', async () => {
    const host = await startApp();
    assert.deepEqual(host.hello.token, 'secret');
    assert.equal(host.init.workerMetadata.customProperties.modelName, '@azure/functions');
    const { functions, result } = await host.metadata();
    assert.equal(result.status, 'success', JSON.stringify(result));
    assert.deepEqual(
        functions.map(({ name, functionId, scriptFile }) => [name, functionId, scriptFile]),
        ['hello', 'bytes', 'fails', 'replaced', 'huge', 'nothing', 'todos', 'changes', 'tick', 'numbers'].map((name) => [name, name, 'app.js']),
    );
    const bindings = (name) => functions.find((one) => one.name === name).rawBindings.map((raw) => JSON.parse(raw));
    const [trigger, out] = bindings('hello');
    assert.equal(trigger.type, 'httpTrigger');
    assert.equal(trigger.direction, 'in');
    assert.equal(trigger.route, 'hello/{name}');
    assert.deepEqual(out, { type: 'http', direction: 'out', name: '$return' });
    assert.match(trigger.name, /^httpTrigger[0-9a-f]{10}$/);
    assert.equal(bindings('changes')[0].createLeaseContainerIfNotExists, true);
    const { retryOptions } = functions.find((one) => one.name === 'changes');
    assert.equal(retryOptions.delayIntervalMs, 2000);
    assert.equal(retryOptions.retryStrategy, 'fixedDelay');
    assert.equal((await host.load('hello')).result.status, 'success');
    assert.equal((await host.load('other')).result.status, 'failure');
    assert.equal(await host.terminate(), 0);
    assert.match(host.output, /terminated true/);
});

async function nameOf(host, functionId, kind) {
    const { functions } = host.indexed ?? (host.indexed = await host.metadata());
    const raw = functions.find((one) => one.functionId === functionId).rawBindings.map((text) => JSON.parse(text));
    return raw.find((binding) => binding.type.toLowerCase().endsWith(kind.toLowerCase())).name;
}

async function callHttp(host, functionId, request, more) {
    const name = await nameOf(host, functionId, 'Trigger');
    return host.invoke(functionId, { [name]: request }, more);
}

test('an HTTP function gets its request and answers', async () => {
    const host = await startApp();
    const request = Host.http('POST', 'http://localhost:7071/api/hello/ada?q=1', 'hi ü', { 'x-in': 'yes' });
    request.http.params = { name: 'ada' };
    const more = { invocationId: 'i1', traceParent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', retryContext: { retryCount: 2, maxRetryCount: 3 } };
    const answer = await callHttp(host, 'hello', request, more);
    assert.equal(answer.result.status, 'success', JSON.stringify(answer.result));
    const { http } = answer.returned;
    assert.equal(http.statusCode, '201');
    assert.equal(http.headers['x-made'], 'here');
    assert.equal(http.headers['content-type'], 'application/json');
    assert.deepEqual(JSON.parse(http.body.bytes), {
        name: 'ada', query: '1', header: 'yes', text: 'hi ü', trace: more.traceParent, retry: 2, id: 'i1',
    });
    assert.deepEqual(http.cookies, [{ name: 'a', value: 'b', domain: null, path: null, expiresMs: 1700000000000, secure: null, httpOnly: null, sameSite: 'none', maxAge: 60 }]);
    assert.deepEqual(host.logsOf('i1'), ['information: pre', 'information: got POST ***', 'warning: careful', 'information: by console', 'information: post before']);
    assert.equal(host.logs.find((log) => log.message === 'careful').category, 'hello.Invocation');
    await host.terminate();
});

test('bodies are bytes in both directions', async () => {
    const host = await startApp();
    const request = Host.http('PUT', 'http://localhost/api/bytes', Buffer.from([0, 255, 128, 10]));
    const answer = await callHttp(host, 'bytes', request);
    assert.deepEqual([...answer.returned.http.body.bytes], [0, 255, 128, 10]);
    const large = Buffer.alloc(500_000, 7);
    const second = await callHttp(host, 'bytes', Host.http('PUT', 'http://localhost/api/bytes', large));
    assert.ok(large.equals(second.returned.http.body.bytes));
    const tooLarge = await callHttp(host, 'huge', Host.http('GET', 'http://localhost/api/huge'));
    assert.match(tooLarge.result.exception.message, /message of \d+ bytes; at most 1048576 are allowed/);
    await host.terminate();
});

test('a failing function tells its error with the line of the app', async () => {
    const host = await startApp();
    const answer = await callHttp(host, 'fails', Host.http('GET', 'http://localhost/api/fails'));
    assert.equal(answer.result.status, 'failure');
    const { exception } = answer.result;
    assert.equal(exception.message, 'bad');
    assert.equal(exception.type, 'TypeError');
    assert.equal(exception.isUserException, true);
    assert.match(exception.stackTrace, /inTheApp .*src\/functions\/app\.js:\d+:\d+/);
    await host.terminate();
});

test('hooks may replace a result, and a function may return nothing', async () => {
    const host = await startApp();
    const replaced = await callHttp(host, 'replaced', Host.http('GET', 'http://localhost/api/replaced'));
    assert.equal(String(replaced.returned.http.body.bytes), 'replaced');
    const nothing = await callHttp(host, 'nothing', Host.http('GET', 'http://localhost/api/nothing'));
    assert.equal(nothing.result.status, 'success');
    assert.deepEqual(nothing.returned, {});
    await host.terminate();
});

test('extra inputs and outputs, and a change feed batch', async () => {
    const host = await startApp();
    const [trigger, connection, sink] = [await nameOf(host, 'todos', 'httpTrigger'), await nameOf(host, 'todos', 'signalRConnectionInfo'), await nameOf(host, 'todos', 'cosmosDB')];
    const answer = await host.invoke('todos', { [trigger]: Host.http('POST', 'http://localhost/api/todos', '{}'), [connection]: { json: '{"url":"u"}' } });
    assert.equal(String(answer.returned.http.body.bytes), '{"url":"u"}');
    assert.deepEqual(answer.outputs[sink], { json: '[{"id":"1"}]' });
    const documents = Array.from({ length: 50 }, (_, id) => ({ id: String(id), text: 'ü'.repeat(20) }));
    const changes = await nameOf(host, 'changes', 'cosmosDBTrigger');
    const more = { triggerMetadata: { SomeThing: { json: '{"InnerName":1}' } } };
    const batch = await host.invoke('changes', { [changes]: { string: JSON.stringify(documents) } }, more);
    assert.deepEqual(JSON.parse(batch.returned.json), { target: 'changed', arguments: [50, { someThing: { innerName: 1 } }] });
    await host.terminate();
});

test('a timer, and whole numbers of 64 bits', async () => {
    const host = await startApp();
    const timer = { json: JSON.stringify({ Schedule: { AdjustForDST: true }, IsPastDue: true }) };
    const ticked = await host.invoke('tick', { [await nameOf(host, 'tick', 'timerTrigger')]: timer }, { invocationId: 't1' });
    assert.equal(ticked.result.status, 'success', JSON.stringify(ticked.result));
    assert.ok(host.logsOf('t1').includes('information: past due true'));
    for (const [given, expected] of [[{ int: 5 }, { int: 5 }], [{ int: '9007199254740993' }, { string: '9007199254740993' }], [{ double: 1.5 }, { double: 1.5 }]]) {
        assert.deepEqual((await host.invoke('numbers', { item: given })).returned, expected);
    }
    await host.terminate();
});

test('modules, several entry points and HTTP streams', async () => {
    const files = {
        'dist/a.mjs': `import { app } from '@azure/functions'; app.setup({ enableHttpStream: true });
            app.http('a', { handler: async (request) => ({
                status: 202, body: 'a ' + await request.text() + ' ' + request.params.p + ' ' + request.url,
                cookies: [{ name: 'c', value: '1' }, { name: 'd', value: '2' }],
            }) });`,
        'dist/deep/b.cjs': `const { app } = require('@azure/functions'); app.http('b', { handler: () => { throw new Error('no'); } });
            app.http('c', { handler: (request, context) => {
                context.signal.addEventListener('abort', () => context.log('context'));
                request.signal.addEventListener('abort', () => context.log('request'));
                return { body: (async function* () { for (;;) { yield 'x'.repeat(1000); await new Promise(setImmediate); } })() };
            } });`,
    };
    const host = await Host.start(makeRealApp(files, { type: 'module', main: 'dist/{a.mjs,**/*.cjs}' }));
    const { functions } = await host.metadata();
    assert.deepEqual(functions.map(({ name }) => name), ['a', 'b', 'c']);
    const address = new URL(host.init.capabilities.HttpUri);
    // Only this machine can reach the library's server, which requires no keys.
    assert.equal(address.hostname, 'localhost');
    await assert.rejects(fetch(`http://127.0.0.2:${address.port}/`));
    const trigger = (at) => JSON.parse(functions[at].rawBindings[0]).name;
    // The two parts of a call: the invocation, and the request itself.
    const call = (name, at, body) => {
        const invocationId = `i-${Math.random()}`;
        const headers = { 'x-ms-invocation-id': invocationId, 'x-forwarded-host': 'app.test', 'x-forwarded-proto': 'https' };
        const cut = new AbortController();
        const options = { method: 'POST', headers, body, duplex: 'half', signal: cut.signal };
        const response = fetch(`http://127.0.0.1:${address.port}/api/${name}?x=1`, options);
        response.catch(() => {});
        const triggerMetadata = { p: { string: 'P' } };
        const answer = host.invoke(name, { [trigger(at)]: { http: { headers: {}, params: {}, query: {} } } }, { invocationId, triggerMetadata });
        return { invocationId, response, answer, cut };
    };
    const a = call('a', 0, 'body');
    const response = await a.response;
    assert.equal(response.status, 202);
    assert.equal(await response.text(), 'a body P https://app.test/api/a?x=1');
    assert.deepEqual(response.headers.getSetCookie(), ['c=1', 'd=2']);
    const answer = await a.answer;
    assert.deepEqual([answer.result.status, answer.returnValue], ['success', undefined], JSON.stringify(answer.result));
    const b = call('b', 1, 'x');
    assert.equal((await b.answer).result.exception.message, 'no');
    b.cut.abort();
    // A cancelled invocation is notified through its signals, and its endless response ends.
    const c = call('c', 2, 'x');
    const reader = (await c.response).body.getReader();
    await reader.read();
    host.send({ cancel: { invocationId: c.invocationId } });
    await c.answer;
    // The library warns about log lines that come after the handler has returned.
    const told = host.logsOf(c.invocationId).filter((line) => line.startsWith('information'));
    assert.deepEqual(told, ['information: context', 'information: request']);
    await host.terminate();
});
