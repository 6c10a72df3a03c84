'use strict';

// FunctionRpc from a worker's side, as far as a stand-in needs it: protobuf by field numbers, and the one stream of messages.

const http2 = require('node:http2');

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

/** The fields of a message: number -> list of values (numbers or bytes). */
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

/** A map field whose values are texts, or messages that hold one text. */
function textMap(entries, isWrapped) {
  return Object.fromEntries(entries.map(parse).map(({ 1: [name], 2: [value = Buffer.alloc(0)] }) => (
    [String(name ?? ''), isWrapped ? String(parse(value)[1][0] ?? '') : String(value)]
  )));
}

/** Connects as the flags of a worker's command line say. `take(content number, body)` gets each message of the host. */
function connect(take) {
  const pairs = process.argv.slice(2).join(' ').matchAll(/--([\w-]+) (\S+)/g);
  const flags = Object.fromEntries([...pairs].map(([, name, value]) => [name, value]));
  const session = http2.connect(flags['functions-uri']);
  session.on('error', () => process.exit(4));
  const stream = session.request({
    ':method': 'POST', ':path': '/AzureFunctionsRpcMessages.FunctionRpc/EventStream', 'content-type': 'application/grpc', te: 'trailers',
  });
  stream.on('close', () => process.exit(0));
  const send = (content, body) => {
    const bytes = message([1, flags['functions-request-id']], [content, body]);
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(bytes.length, 1);
    stream.write(Buffer.concat([prefix, bytes]));
  };
  let buffer = Buffer.alloc(0);
  stream.on('data', (chunk) => {
    buffer = Buffer.concat([buffer, chunk]);
    while (buffer.length >= 5 && buffer.length >= 5 + buffer.readUInt32BE(1)) {
      const end = 5 + buffer.readUInt32BE(1);
      const fields = parse(buffer.subarray(5, end));
      buffer = buffer.subarray(end);
      const content = Object.keys(fields).map(Number).find((number) => number !== 1);
      if (content) take(content, parse(fields[content][0]));
    }
  });
  send(20, message([2, flags['functions-worker-id']]));
  return send;
}

module.exports = { connect, message, parse, textMap };
