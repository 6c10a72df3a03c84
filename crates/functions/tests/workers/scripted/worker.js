'use strict';

// A worker of the official road, with a protobuf and a gRPC of its own, so that nothing of ours tests itself. It behaves as
// python's does where that is a trap: it answers with the request id of its first message, knows neither terminate nor
// cancel, and dies of what it does not know.

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

function send(content, body) {
    const bytes = message([1, flags.requestId], [content, body]);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(bytes.length, 1);
    stream.write(Buffer.concat([prefix, bytes]));
}

const CAPABILITIES = (process.env.SCRIPTED_CAPABILITIES ?? 'RawHttpBodyBytes TypedDataCollection').split(' ').filter(Boolean);
const SUCCESS = message([4, 1]);
const RAW_BINDING = JSON.stringify({ name: 'req', type: 'httpTrigger', direction: 'IN', authLevel: 'ANONYMOUS' });

function invoke(request) {
    const id = String(request[1][0]);
    const input = parse(parse(request[3][0])[2][0]);
    switch (String(request[2][0])) {
        case 'echo': {
            const log = [[1, id], [2, 'root'], [3, 2]];
            send(2, message(...log, [4, 'one']));
            send(2, message(...log, [4, 'two']));
            const [number] = Object.keys(input);
            send(5, message([1, id], [3, SUCCESS], [4, message([Number(number), input[number][0]])]));
            return;
        }
        case 'http': {
            // An HTTP answer that tells the request's fields, and which kind of value its body is.
            const http = parse(input[5][0]);
            const fields = Object.keys(http).join(',');
            const body = parse(http[4][0]);
            const [kind] = Object.keys(body);
            const headers = [['x-fields', fields], ['x-body-kind', kind]].map((pair) => [3, message([1, pair[0]], [2, pair[1]])]);
            const answer = message([12, '201'], ...headers, [4, message([3, body[kind][0]])]);
            send(5, message([1, id], [3, SUCCESS], [4, message([5, answer])]));
            return;
        }
        case 'fails':
            send(5, message([1, id], [3, message([2, message([2, 'ValueError: bad'], [1, 'line 1'])])]));
            return;
        case 'dies':
            process.exit(9);
        case 'waits':
            send(2, message([1, id], [2, 'root'], [3, 2], [4, 'waiting']));
    }
}

let buffer = Buffer.alloc(0);
stream.on('data', (chunk) => {
    buffer = Buffer.concat([buffer, chunk]);
    while (buffer.length >= 5 && buffer.length >= 5 + buffer.readUInt32BE(1)) {
        const end = 5 + buffer.readUInt32BE(1);
        const fields = parse(buffer.subarray(5, end));
        buffer = buffer.subarray(end);
        const [content] = Object.keys(fields).filter((number) => number !== '1').map(Number);
        const body = parse(fields[content][0]);
        switch (content) {
            case 17:
                send(16, message(...CAPABILITIES.map((name) => [2, message([1, name], [2, 'true'])]), [3, SUCCESS]));
                break;
            case 29: {
                const functions = ['echo', 'http', 'fails', 'dies', 'waits'].map((name) => [1, message([4, name], [13, name], [10, RAW_BINDING], [2, 'f.py'])]);
                send(30, message(...functions, [2, SUCCESS]));
                break;
            }
            case 8:
                send(9, message([1, body[1][0]], [2, SUCCESS]));
                break;
            case 4:
                invoke(body);
                break;
            case 21:
                if (CAPABILITIES.includes('HandlesInvocationCancelMessage')) {
                    console.log(`cancelled ${body[2][0]}`);
                    break;
                }
                // falls through
            default:
                console.error(`unknown content ${content}`);
                process.exit(5);
        }
    }
});
send(20, message([2, flags.workerId]));
