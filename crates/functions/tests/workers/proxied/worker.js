'use strict';

// A worker that takes HTTP requests itself (capability HttpUri), and behaves as .NET's does with ASP.NET Core integration; see the recordings
// `csharp-worker/aspnet-*`. Each function is a case of the contract: what is said over HTTP, and what over the stream, and in which order.
//
// PROXIED_LISTEN: `late` binds the port a while after it was announced, `never` does not. PROXIED_CAPABILITY names a
// further capability.

const crypto = require('node:crypto');
const http = require('node:http');
const { once } = require('node:events');
const { message, parse, run, send, SUCCESS } = require('../rpc');

const FAILURE = message([4, 0], [2, message([2, 'thrown on purpose'], [5, 'InvalidOperationException'])]);
const CANCELLED = message([4, 2], [2, message([2, 'cancelled while waiting for the request'])]);

/** What is known of each invocation: its request, its response, what the host said, and who frees it. */
const joined = new Map();

const succeed = (id, ...more) => send(5, message([1, id], [3, SUCCESS], ...more));
const fail = (id) => send(5, message([1, id], [3, FAILURE]));
const later = (what) => setTimeout(what, 30);

/** name -> [route, what it does once both halves are there]. */
const FUNCTIONS = {
    echo: ['echo/{category}/{id?}', ({ id, request, response, metadata, input }) => {
        const chunks = [];
        request.on('data', (chunk) => chunks.push(chunk));
        request.on('end', () => {
            response.statusCode = 201;
            response.setHeader('set-cookie', ['a=1; path=/x', 'b=2']);
            response.setHeader('content-type', 'application/json');
            const { method, url, headers } = request;
            response.end(JSON.stringify({ method, url, headers, metadata, input, body: String(Buffer.concat(chunks)) }));
            // What a function returned is said twice, and the serialized object is not the response.
            succeed(id, [4, message([2, '{"StatusCode":201}'])], [2, message([1, 'item'], [2, message([1, 'stored'])])]);
        });
    }],
    up: ['up', async ({ id, request, response }) => {
        const hash = crypto.createHash('sha256');
        let bytes = 0;
        try {
            for await (const chunk of request) {
                if (bytes === 0) console.log(`receives ${id}`);
                hash.update(chunk);
                bytes += chunk.length;
            }
        } catch {
            console.log(`aborted ${id} after ${bytes}`);
            fail(id);
            return;
        }
        response.end(`${bytes} ${hash.digest('hex')}`);
        succeed(id);
    }],
    down: ['down/{bytes}', async ({ id, response, metadata }) => {
        const chunk = Buffer.alloc(64 * 1024, 7);
        for (let left = Number(metadata.bytes); left > 0; left -= chunk.length) {
            if (!response.write(chunk.subarray(0, left))) await once(response, 'drain');
        }
        response.end();
        succeed(id);
    }],
    // Its output names a property of the request's body.
    bound: ['bound', async ({ id, request, response }) => {
        const chunks = [];
        for await (const chunk of request) chunks.push(chunk);
        response.end(Buffer.concat(chunks));
        succeed(id, [2, message([1, 'item'], [2, message([1, 'stored'])])]);
    }],
    duplex: ['duplex', async ({ id, request, response }) => {
        for await (const chunk of request) response.write(chunk);
        response.end();
        succeed(id);
    }],
    nocontent: ['nocontent', ({ id, response }) => {
        response.statusCode = 204;
        response.end();
        later(() => succeed(id));
    }],
    missing: ['missing', ({ id, response }) => {
        response.statusCode = 404;
        response.end('no such card');
        later(() => succeed(id));
    }],
    throws: ['throws', ({ id, response }) => {
        response.setHeader('content-length', 0);
        response.end();
        later(() => fail(id));
    }],
    throwsfirst: ['throwsfirst', ({ id, response }) => {
        fail(id);
        later(() => response.end());
    }],
    throwslate: ['throwslate', ({ id, response }) => {
        response.write('some bytes');
        later(() => response.end());
        later(() => later(() => fail(id)));
    }],
    // The host may see the failure first, although the bytes were sent before it.
    throwsbehind: ['throwsbehind', ({ id, response }) => {
        response.write('some bytes', () => fail(id));
    }],
    breaks: ['breaks', ({ id, response }) => {
        response.write('some bytes');
        later(() => response.socket.destroy());
        later(() => later(() => fail(id)));
    }],
    refuses: ['refuses', ({ id, response }) => {
        response.statusCode = 413;
        response.end('too much');
        later(() => succeed(id));
    }],
    nothing: ['nothing', ({ id }) => succeed(id)],
    // What it returns comes long before its response.
    returnsfirst: ['returnsfirst', ({ id, response }) => {
        succeed(id, [4, message([2, '{"StatusCode":200}'])]);
        setTimeout(() => response.end('at last'), 1500);
    }],
    hangs: ['hangs', ({ request, id }) => {
        console.log(`hangs ${id}`);
        request.socket.on('close', () => console.log(`closed ${id}`));
    }],
    closes: ['closes', ({ id, request, response }) => {
        request.resume();
        response.end('at the second request');
        succeed(id);
    }],
    dies: ['dies', () => process.exit(9)],
};

function join(id, more) {
    const call = { ...joined.get(id), ...more, id };
    joined.set(id, call);
    if (!call.request || !call.name) return;
    // A request that breaks off is an exception in the function, as in .NET, and not the end of the process.
    Promise.resolve(FUNCTIONS[call.name][1](call)).catch(() => fail(id));
}

const server = http.createServer((request, response) => {
    const id = request.headers['x-ms-invocation-id'];
    // A path that this server does not route: nobody joins the two halves.
    if (request.url.startsWith('/api/unrouted')) {
        response.statusCode = 404;
        response.setHeader('content-length', 0);
        response.end();
        return;
    }
    // The first connection of each invocation is closed without a response.
    if (request.url.startsWith('/api/closes') && !closed.has(id)) {
        closed.add(id);
        request.socket.destroy();
        return;
    }
    join(id, { request, response });
});
const closed = new Set();

const LISTEN = process.env.PROXIED_LISTEN ?? 'at once';
let port = 0;

/** A free port, which is bound now or later. */
async function announce() {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    port = server.address().port;
    if (LISTEN !== 'at once') {
        server.close();
        await once(server, 'close');
    }
}

const CAPABILITIES = () => ({
    HttpUri: `http://localhost:${port}/`,
    HandlesInvocationCancelMessage: 'True',
    HandlesWorkerTerminateMessage: 'True',
    RawHttpBodyBytes: 'True',
    RpcHttpBodyOnly: 'True',
    ...(process.env.PROXIED_CAPABILITY && { [process.env.PROXIED_CAPABILITY]: 'True' }),
    ...(process.env.PROXIED_ROUTE_PARAMETERS && { RequiresRouteParameters: 'True' }),
});

function functions() {
    const names = [...Object.entries(FUNCTIONS), ['unrouted', ['unrouted']]];
    return names.map(([name, [route]]) => {
        const trigger = { name: 'req', type: 'httpTrigger', direction: 'In', authLevel: 'Anonymous', route };
        const bindings = [trigger, { name: '$return', type: 'http', direction: 'Out' }];
        if (name === 'echo') bindings.push({ name: 'item', type: 'feed', direction: 'Out' });
        if (name === 'bound') bindings.push({ name: 'item', type: 'feed', direction: 'Out', into: '{card.owner}' });
        return [1, message([4, name], [13, name], [2, 'App.dll'], ...bindings.map((binding) => [10, JSON.stringify(binding)]))];
    });
}

function invoke(body) {
    const id = String(body[1][0]);
    const metadata = {};
    for (const entry of body[4]) {
        const [key, value] = Object.values(parse(entry)).map(([one]) => one);
        const [[kind, [data]]] = Object.entries(parse(value));
        metadata[key] = kind === '1' ? String(data) : { [kind]: String(data) };
    }
    // The fields of the request that came by the stream.
    const input = Object.keys(parse(parse(parse(body[3][0])[2][0])[5][0])).join(',');
    const name = String(body[2][0]);
    if (name !== 'unrouted') join(id, { name, metadata, input });
    else joined.set(id, { free: () => send(5, message([1, id], [3, CANCELLED])) });
}

run(async (content, body) => {
    switch (content) {
        case 17:
            await announce();
            send(16, message(...Object.entries(CAPABILITIES()).map(([name, value]) => [2, message([1, name], [2, value])]), [3, SUCCESS]));
            break;
        case 29:
            send(30, message(...functions(), [2, SUCCESS]));
            break;
        case 8:
            send(9, message([1, body[1][0]], [2, SUCCESS]));
            if (LISTEN === 'late' && !server.listening) setTimeout(() => server.listening || server.listen(port, '127.0.0.1'), 200);
            break;
        case 4:
            invoke(body);
            break;
        case 21: {
            const id = String(body[2][0]);
            console.log(`cancelled ${id}`);
            joined.get(id)?.free?.();
            const call = joined.get(id);
            // Who waits for its request is freed, as is a function that listens.
            if (call?.name && !call.request) send(5, message([1, id], [3, CANCELLED]));
            if (call?.name === 'hangs') fail(id);
            break;
        }
        case 14:
            process.exit(0);
            break;
        default:
            console.error(`unknown content ${content}`);
            process.exit(5);
    }
});
