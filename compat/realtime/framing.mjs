// Hub messages as an upstream reads and writes them: without framing in the request, framed in the response.

import { decode, encode } from '@msgpack/msgpack';

const RECORD_SEPARATOR = '\x1e';
const TYPES = { 'application/json': 'json', 'application/x-msgpack': 'messagepack' };

/** The protocol of a request's content type, or undefined. */
export function protocolOf(contentType) {
  return TYPES[contentType?.split(';')[0].trim().toLowerCase()];
}

/** One hub message, without framing, as an object with the names of the JSON protocol. */
export function read(protocol, bytes) {
  if (protocol === 'json') {
    if (bytes.includes(RECORD_SEPARATOR)) throw new Error('the record separator is part of the framing, not of the message');
    return JSON.parse(bytes);
  }
  const [type, , invocationId, ...rest] = decode(bytes);
  const message = { type, ...(invocationId === null ? {} : { invocationId }) };
  if (type === 1 || type === 4) {
    const [target, args, streamIds] = rest;
    return { ...message, target, arguments: args, streamIds };
  }
  if (type === 2) return { ...message, item: rest[0] };
  if (type === 3) return { ...message, ...(rest[0] === 1 ? { error: rest[1] } : { result: rest[1] }) };
  return message;
}

/** An invocation of a client method, framed for the client. */
export function invocation(protocol, target, args) {
  if (protocol === 'json') return Buffer.from(JSON.stringify({ type: 1, target, arguments: args }) + RECORD_SEPARATOR);
  return framed(encode([1, {}, null, target, args, []]));
}

/** An item of a stream that a client requested, framed for the client. */
export function streamItem(protocol, invocationId, item) {
  if (protocol === 'json') return Buffer.from(JSON.stringify({ type: 2, invocationId, item }) + RECORD_SEPARATOR);
  return framed(encode([2, {}, invocationId, item]));
}

/** A completion with a result, with an error, or with neither, framed for the client. */
export function completion(protocol, invocationId, { result, error }) {
  if (protocol === 'json') return Buffer.from(JSON.stringify({ type: 3, invocationId, result, error }) + RECORD_SEPARATOR);
  const kind = error !== undefined ? [1, error] : result === undefined ? [2] : [3, result];
  return framed(encode([3, {}, invocationId, ...kind]));
}

/** The first complete message, without framing, and its size with framing; undefined if there is no complete message yet. */
export function next(protocol, bytes) {
  if (protocol === 'json') {
    const end = bytes.indexOf(RECORD_SEPARATOR);
    return end < 0 ? undefined : { message: bytes.subarray(0, end), used: end + 1 };
  }
  let length = 0;
  for (let at = 0; at < Math.min(5, bytes.length); at += 1) {
    length |= (bytes[at] & 0x7f) << (7 * at);
    if (bytes[at] >= 0x80) continue;
    const used = at + 1 + length;
    return bytes.length < used ? undefined : { message: bytes.subarray(at + 1, used), used };
  }
  return undefined;
}

/** MessagePack bytes with their length prefix. */
export function framed(bytes) {
  return Buffer.concat([lengthPrefix(bytes.length), bytes]);
}

/** The length prefix of a MessagePack message: seven bits per byte, the lowest first. */
function lengthPrefix(length) {
  const bytes = [];
  for (let rest = length; ; rest >>>= 7) {
    if (rest < 0x80) return Buffer.from([...bytes, rest]);
    bytes.push((rest & 0x7f) | 0x80);
  }
}
