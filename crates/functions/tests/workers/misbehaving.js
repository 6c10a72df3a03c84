'use strict';

// Loaded into our Node.js worker before everything else (NODE_OPTIONS=--require): changes what the worker writes to the host, as
// MISBEHAVIOUR says. The first frame identifies the worker and stays as it is.

const net = require('node:net');

const misbehaviour = process.env.MISBEHAVIOUR;
const address = process.env.CHAPPE_WORKER_ADDRESS;
const connect = net.connect;

/** The frame of an invocation that the host never sent: same length, another id. */
const ofStranger = (frame) => Buffer.from(frame.toString('latin1').replaceAll('echo-', 'odd--'), 'latin1');

/** Gives each complete frame to `take`: a length, and so many bytes. The worker writes a frame in several parts. */
function frames(take) {
    let parts = Buffer.alloc(0);
    return (bytes) => {
        parts = Buffer.concat([parts, Buffer.from(bytes)]);
        while (parts.length >= 4 && parts.length >= 4 + parts.readUInt32BE(0)) {
            const end = 4 + parts.readUInt32BE(0);
            take(parts.subarray(0, end));
            parts = parts.subarray(end);
        }
    };
}

function change(socket) {
    const write = socket.write.bind(socket);
    let isFirst = true;
    const push = frames((frame) => {
        if (isFirst) {
            isFirst = false;
            if (misbehaviour === 'second-stream') openAgain(frame);
        } else if (misbehaviour === 'silent') {
            return;
        } else if (misbehaviour === 'double-answers') {
            write(frame);
        } else if (misbehaviour === 'unknown-ids') {
            write(ofStranger(frame));
        }
        write(frame);
    });
    socket.write = (bytes, then) => {
        push(bytes);
        if (then) setImmediate(then);
        return true;
    };
    return socket;
}

/** Connects once more with the credentials of this worker. */
function openAgain(start) {
    const second = connect(address.includes('/') ? { path: address } : Number(address.split(':')[1]));
    second.on('connect', () => second.write(start));
    for (const event of ['error', 'close']) second.on(event, () => {});
}

if (address) net.connect = (...given) => change(connect(...given));
