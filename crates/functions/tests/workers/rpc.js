'use strict';

// The official road for scripted workers: a protobuf and a gRPC of its own, so that nothing of ours tests itself. A worker answers with
// the request id of its first message, as python's does.

const http2 = require('node:http2');

const pairs = process.argv.slice(2).join(' ').matchAll(/--([\w-]+) (\S+)/g);
const flags = Object.fromEntries([...pairs].map(([, name, value]) => [name, value]));
for (const [old, current] of [['workerId', 'functions-worker-id'], ['requestId', 'functions-request-id']]) {
    if (!flags[old] || flags[old] !== flags[current]) throw new Error(`flags ${old} and ${current} differ`);
}

function varint(value) {
    const bytes = [];
    for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
        if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
        bytes.push(Number(rest & 127n) | 128);
    }
}

/** A message from [number, value]: text and buffers are length-delimited, numbers are varints. */
function message(...fields) {
    return Buffer.concat(fields.map(([number, value]) => {
        if (typeof value === 'number') return Buffer.concat([varint(number << 3), varint(value)]);
        const bytes = Buffer.from(value);
        return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
    }));
}

/** The fields of a message: number -> list of values. */
function parse(bytes) {
    const fields = new Proxy({}, { get: (target, number) => target[number] ?? [] });
    let at = 0;
    const next = () => {
        let value = 0n;
        for (let shift = 0n; ; shift += 7n) {
            const byte = bytes[at++];
            value |= BigInt(byte & 127) << shift;
            if (byte < 128) return Number(value);
        }
    };
    while (at < bytes.length) {
        const tag = next();
        let value;
        if ((tag & 7) === 0) value = next();
        else if ((tag & 7) === 2) {
            const length = next();
            value = bytes.subarray(at, at += length);
        } else throw new Error(`wire type ${tag & 7}`);
        fields[tag >> 3] = [...fields[tag >> 3], value];
    }
    return fields;
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

/** Sends a message: the number of its content in the stream, and that content. */
function send(content, body) {
    const bytes = message([1, flags.requestId], [content, body]);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(bytes.length, 1);
    stream.write(Buffer.concat([prefix, bytes]));
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
}

/** The status of an operation that went well. */
const SUCCESS = message([4, 1]);

module.exports = { message, parse, run, send, SUCCESS };
