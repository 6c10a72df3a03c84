'use strict';

// The behaviour of the worker with an app, tested with a minimal host. compat/functions-worker tests it with the real library.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Body, Decoder, decodeValue, encode, encodeValue } = require('../frames');
const { findFiles } = require('../glob');
const { Outgoing } = require('../outgoing');
const { Host, makeApp } = require('./host');

const MODEL = `
const core = require('@azure/functions-core');
core.setProgrammingModel({
    name: 'test', version: '1',
    getInvocationModel: (context) => ({
        getArguments: async () => ({ context, inputs: context.request.inputData.map(({ data }) => data) }),
        invokeFunction: async (given, inputs, callback) => callback(...inputs, given),
        getResponse: async (given, result) => ({ invocationId: given.invocationId, returnValue: result }),
    }),
});
const register = (name, callback) => core.registerFunction({ name, bindings: { item: { type: 'manualTrigger', direction: 'in' } } }, callback);
`;

function start(code) {
    return Host.start(makeApp({ 'package.json': '{"main": "app.js"}', 'app.js': MODEL + code }));
}

test('large frames are whole between small ones, however the stream is cut', () => {
    const frame = (bytes) => {
        const body = new Body();
        return Buffer.concat(encode({ message: encodeValue({ bytes: Buffer.alloc(bytes, bytes % 251) }, body) }, body, 4 << 20));
    };
    const sizes = [10, 3_000_000, 0, (1 << 20) + 1, 1_000_000, 2_000_000];
    const stream = Buffer.concat(sizes.map(frame));
    for (const size of [65_536, 1_000_003, stream.length]) {
        const seen = [];
        const decoder = new Decoder(4 << 20);
        for (let at = 0; at < stream.length; at += size) {
            decoder.push(stream.subarray(at, at + size), ({ message }, rest) => {
                const { bytes } = decodeValue(message, rest);
                assert.ok(bytes.every((byte) => byte === bytes.length % 251));
                seen.push(bytes.length);
            });
        }
        assert.deepEqual(seen, sizes);
    }
});

/** A socket that is full after each write until it is drained; and the names of the frames that it got. */
function fullSocket() {
    const seen = [];
    let drain;
    let parts = Buffer.alloc(0);
    const decoder = new Decoder(1 << 20);
    let isCorked = false;
    const written = () => {
        decoder.push(parts, (head) => seen.push(head.log ? `${head.log.invocationId ?? '-'} ${head.log.message}` : `${Object.values(head)[0].invocationId} ended`));
        parts = Buffer.alloc(0);
        socket.writableNeedDrain = true;
    };
    const socket = {
        writableNeedDrain: false,
        on: (event, listener) => { drain = listener; },
        cork() { isCorked = true; },
        uncork() {
            isCorked = false;
            written();
        },
        write(bytes) {
            parts = Buffer.concat([parts, bytes]);
            if (!isCorked) written();
        },
    };
    const drained = () => { socket.writableNeedDrain = false; drain(); };
    return { socket, seen, drained };
}

test('a response passes the waiting log records of other invocations, and follows those of its own', () => {
    const { socket, seen, drained } = fullSocket();
    const outgoing = new Outgoing(socket, 1 << 20);
    for (let number = 0; number < 40; number += 1) outgoing.log({ invocationId: 'a', message: String(number) });
    outgoing.send({ invoked: { invocationId: 'b' } });
    outgoing.log({ invocationId: 'c', message: 'of c' });
    outgoing.send({ invoked: { invocationId: 'c' } });
    outgoing.send({ invoked: { invocationId: 'a' } });
    assert.deepEqual(seen, ['a 0', 'b ended']);
    for (let count = 0; count < 50; count += 1) drained();
    assert.ok(seen.indexOf('c ended') < 10, `c waits for its turn only: ${seen}`);
    assert.ok(seen.indexOf('of c') < seen.indexOf('c ended'));
    const ofA = seen.filter((name) => name.startsWith('a '));
    assert.deepEqual(ofA, [...Array.from({ length: 40 }, (_, number) => `a ${number}`), 'a ended']);
    outgoing.log({ message: 'last' });
    assert.equal(seen.at(-1), '- last', 'nothing waits any more');
});

test('what waits is written before the process ends', () => {
    const { socket, seen } = fullSocket();
    const outgoing = new Outgoing(socket, 1 << 20);
    for (const message of ['1', '2', '3']) outgoing.log({ invocationId: 'a', message });
    outgoing.flush();
    outgoing.send({ log: { message: 'reason' } });
    assert.deepEqual(seen, ['a 1', 'a 2', 'a 3', '- reason']);
});

test('frames are the same however the stream is cut', () => {
    const body = new Body();
    const values = [{ bytes: Buffer.alloc(300, 1) }, { json: 'x'.repeat(400) }, { int: '9007199254740993' }, { double: Infinity }, { collectionString: { string: ['', 'ü'.repeat(300)] } }];
    const head = { message: values.map((value) => encodeValue(value, body)) };
    const frame = Buffer.concat(encode(head, body, 1 << 20));
    const stream = Buffer.concat([frame, frame, frame]);
    for (const size of [1, 3, 7, 100, stream.length]) {
        const seen = [];
        const decoder = new Decoder(1 << 20);
        for (let at = 0; at < stream.length; at += size) {
            decoder.push(stream.subarray(at, at + size), ({ message }, rest) => seen.push(message.map((value) => decodeValue(value, rest))));
        }
        assert.equal(seen.length, 3);
        for (const one of seen) assert.deepEqual(one, values);
    }
    assert.throws(() => new Decoder(10).push(frame, () => {}), /frame of \d+ bytes; at most 10 are allowed/);
    assert.throws(() => encode(head, body, 10), RangeError);
});

test('patterns find files as package.json means them', () => {
    const app = makeApp({
        'src/a.js': '', 'src/b.mjs': '', 'src/b.js.map': '', 'src/deep/c.js': '', 'src/.hidden/d.js': '', 'node_modules/x/e.js': '', 'index.js': '', 'src/deep/[f].cjs': '',
    });
    const found = (pattern) => findFiles(app, pattern).map((file) => file.slice(app.length + 1));
    assert.deepEqual(found('index.js'), ['index.js']);
    assert.deepEqual(found('./index.js'), ['index.js']);
    assert.deepEqual(found('src/*.js'), ['src/a.js']);
    assert.deepEqual(found('**/*.js'), ['index.js', 'src/a.js', 'src/deep/c.js']);
    assert.deepEqual(found('src/{a.js,b.mjs}'), ['src/a.js', 'src/b.mjs']);
    assert.deepEqual(found('src/**/*.{js,mjs}'), ['src/a.js', 'src/b.mjs', 'src/deep/c.js']);
    assert.deepEqual(found('src/deep/?[f].cjs'), []);
    assert.deepEqual(found('src/[ab].*'), ['src/a.js', 'src/b.mjs']);
    assert.deepEqual(found('src/deep/[[]f].cjs'), ['src/deep/[f].cjs']);
    assert.deepEqual(found('src'), ['src/a.js', 'src/deep/c.js']);
    assert.deepEqual(found('none/*.js'), []);
});

test('an uncaught error is told with its invocation before the process ends', async () => {
    const host = await start(`register('boom', () => new Promise(() => setTimeout(() => { throw new RangeError('boom'); }, 1)));`);
    host.invoke('boom', {}, { invocationId: 'b1' });
    assert.equal(await host.ended, 1);
    const log = host.logs.find(({ level }) => level === 'critical');
    assert.equal(log.invocationId, 'b1');
    assert.match(log.message, /RangeError: boom\n.*app\.js/s);
    assert.equal(log.exception.type, 'RangeError');
});

test('an unhandled rejection ends the process too, and causes are shown', async () => {
    const host = await start(`register('boom', () => { Promise.reject(new Error('outer', { cause: new Error('inner') })); return new Promise(() => {}); });`);
    host.invoke('boom', {}, { invocationId: 'b1' });
    assert.equal(await host.ended, 1);
    assert.match(host.logs.find(({ level }) => level === 'critical').message, /outer.*Caused by: Error: inner/s);
});

test('whatever is thrown becomes an error', async () => {
    const host = await start(`for (const [name, thrown] of Object.entries({ text: 'oh', nothing: undefined, object: { a: 1 } })) register(name, () => { throw thrown; });`);
    const message = async (name) => (await host.invoke(name, {})).result.exception.message;
    assert.equal(await message('text'), 'oh');
    assert.equal(await message('nothing'), 'Unknown error');
    assert.equal(await message('object'), '{"a":1}');
    assert.equal((await host.invoke('other', {})).result.exception.message, "The function 'other' is not loaded.");
    assert.equal(await host.terminate(), 0);
});

test('late and double registrations are refused', async () => {
    const host = await start(`
        register('a', () => register('late', () => {}));
        try { register('a', () => {}); } catch (error) { console.log(error.message); }
        register('gone', () => {}).dispose();
        try { core.registerHook('unknown', () => {}); } catch (error) { console.log(error.name, error.isAzureFunctionsSystemError); }`);
    const { functions } = await host.metadata();
    assert.deepEqual(functions.map(({ name }) => name), ['a']);
    assert.match((await host.invoke('a', {})).result.exception.message, /registered too late/);
    const messages = host.logs.map(({ message }) => message);
    assert.ok(messages[0].startsWith('A function with id "a" has already been registered'));
    assert.equal(messages[1], 'RangeError true');
    await host.terminate();
});

test('a host that goes away takes the worker with it', async () => {
    const host = await start(`register('waits', () => new Promise(() => {})); setInterval(() => {}, 1000);`);
    host.invoke('waits', {});
    host.socket.destroy();
    assert.equal(await host.ended, 0);
});
