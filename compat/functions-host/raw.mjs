// One HTTP/1.1 request on one connection, byte for byte as it was recorded, and the raw response.

import { connect } from 'node:net';

const ANSWER_MS = 5_000;
const MALFORMED = { status: -1, headers: [], body: '' };

function requestBytes({ method, target, headers, body }) {
  const has = (name) => headers.some(([other]) => other.toLowerCase() === name);
  const lines = [`${method} ${target} HTTP/1.1`];
  if (!has('host')) lines.push('Host: localhost:7071');
  lines.push(...headers.map(([name, value]) => `${name}: ${value}`));
  const payload = Buffer.from(body ?? '', 'utf8');
  if (body !== null && !has('transfer-encoding')) lines.push(`Content-Length: ${payload.length}`);
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), payload]);
}

/** The received chunks of a chunked message, and whether it is complete. */
function unchunked(bytes) {
  const chunks = [];
  for (let at = 0; ;) {
    const end = bytes.indexOf('\r\n', at);
    const size = end < 0 ? Number.NaN : Number.parseInt(bytes.toString('latin1', at, end), 16);
    const isWhole = size === 0 && bytes.indexOf('\r\n\r\n', end) === end;
    if (Number.isNaN(size) || size === 0 || bytes.length < end + 4 + size) return { body: Buffer.concat(chunks), isWhole };
    chunks.push(bytes.subarray(end + 2, end + 2 + size));
    at = end + 4 + size;
  }
}

function textOf(bytes) {
  const text = bytes.toString('utf8');
  return Buffer.from(text, 'utf8').equals(bytes) ? text : `base64:${bytes.toString('base64')}`;
}

/** The response in these bytes, or undefined while it is incomplete. `isEnded`: no more bytes will come. */
export function parseResponse(bytes, method, isEnded) {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return isEnded ? MALFORMED : undefined;
  const [first, ...lines] = bytes.toString('latin1', 0, end).split('\r\n');
  const status = Number(first.split(' ')[1]);
  const rest = bytes.subarray(end + 4);
  if (status >= 100 && status < 200) return parseResponse(rest, method, isEnded);
  const headers = lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]);
  const header = (name) => headers.find(([other]) => other.toLowerCase() === name)?.[1];
  const answer = (body) => ({ status, headers, body: textOf(body) });
  if (method === 'HEAD' || status === 204 || status === 304) return answer(Buffer.alloc(0));
  if (header('transfer-encoding') === 'chunked') {
    const { body, isWhole } = unchunked(rest);
    if (isWhole) return answer(body);
    return isEnded ? { status, headers, body: `${textOf(body)}<<truncated>>` } : undefined;
  }
  const length = header('content-length');
  if (length !== undefined) return rest.length >= Number(length) ? answer(rest.subarray(0, Number(length))) : isEnded ? MALFORMED : undefined;
  return isEnded ? answer(rest) : undefined;
}

/** Sends a recorded request; `status` is -1 if there was no well-formed response in time. */
export function send(port, request) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let bytes = Buffer.alloc(0);
    const finish = (answer) => {
      clearTimeout(clock);
      socket.destroy();
      resolve(answer);
    };
    const clock = setTimeout(() => finish(MALFORMED), ANSWER_MS);
    const look = (isEnded) => {
      const answer = parseResponse(bytes, request.method, isEnded);
      if (answer) finish(answer);
    };
    socket.on('connect', () => socket.write(requestBytes(request)));
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk]);
      look(false);
    });
    socket.on('error', () => look(true));
    socket.on('close', () => look(true));
  });
}
