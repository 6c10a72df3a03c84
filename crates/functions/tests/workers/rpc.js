'use strict';

// FunctionRpc for scripted workers: a protobuf and a gRPC of its own, so that nothing of ours tests itself. A worker answers with
// the request id of its first message, as python's does.

const http2 = require('node:http2');

const { message, parse } = require('./protobuf.js');

const pairs = process.argv.slice(2).join(' ').matchAll(/--([\w-]+) (\S+)/g);
const flags = Object.fromEntries([...pairs].map(([, name, value]) => [name, value]));
for (const [old, current] of [['workerId', 'functions-worker-id'], ['requestId', 'functions-request-id']]) {
    if (!flags[old] || flags[old] !== flags[current]) throw new Error(`flags ${old} and ${current} differ`);
}

const session = http2.connect(flags['functions-uri']);
const stream = session.request({
    ':method': 'POST',
    ':path': '/AzureFunctionsRpcMessages.FunctionRpc/EventStream',
    'content-type': 'application/grpc',
    te: 'trailers',
});
session.on('error', () => process.exit(4));
stream.on('close', () => process.exit(0));

const misbehaviour = process.env.MISBEHAVIOUR;

function write(bytes, to = stream) {
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(bytes.length, 1);
    to.write(Buffer.concat([prefix, bytes]));
}

/** Sends a message: the number of its content in the stream, and that content. */
function send(content, body) {
    const bytes = message([1, flags.requestId], [content, body]);
    if (content !== 20) {
        if (misbehaviour === 'silent') return;
        if (misbehaviour === 'double-answers') write(bytes);
        // The same length, so that the message stays well-formed.
        if (misbehaviour === 'unknown-ids') write(Buffer.from(bytes.toString('latin1').replaceAll('echo-', 'odd--'), 'latin1'));
    }
    write(bytes);
}

/** Connects to the host, and gives each of its messages to `take(content, fields)`. */
function run(take) {
    let buffer = Buffer.alloc(0);
    stream.on('data', (chunk) => {
        buffer = Buffer.concat([buffer, chunk]);
        while (buffer.length >= 5 && buffer.length >= 5 + buffer.readUInt32BE(1)) {
            const end = 5 + buffer.readUInt32BE(1);
            const fields = parse(buffer.subarray(5, end));
            buffer = buffer.subarray(end);
            const [content] = Object.keys(fields).filter((number) => number !== '1').map(Number);
            take(content, parse(fields[content][0]));
        }
    });
    send(20, message([2, flags.workerId]));
    if (misbehaviour === 'second-stream') {
        const second = session.request(stream.sentHeaders);
        for (const event of ['error', 'close']) second.on(event, () => {});
        second.resume();
        write(message([1, flags.requestId], [20, message([2, flags.workerId])]), second);
    }
}

/** The status of an operation that went well. */
const SUCCESS = message([4, 1]);

module.exports = { message, parse, run, send, SUCCESS };
