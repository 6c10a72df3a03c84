'use strict';

// An InvocationRequest in a comparable form: each input and each entry of the trigger metadata by its name.

const { parse } = require('../../crates/functions/tests/workers/protobuf.js');

/** A TypedData: the name of its kind, and its value. */
function valueOf(bytes) {
  const data = parse(bytes);
  if (data[12][0]) {
    const [version, source, contentType, content] = [1, 2, 3, 4].map((number) => String(parse(data[12][0])[number][0] ?? ''));
    return { reference: { version, source, contentType, content: JSON.parse(content) } };
  }
  if (data[5][0]) return { http: true };
  if (data[2][0]) return { json: JSON.parse(String(data[2][0])) };
  return data[1][0] === undefined ? null : { text: String(data[1][0]) };
}

function invocationOf(invocation) {
  const byName = (entries) => Object.fromEntries(entries.map(parse).map(({ 1: [name], 2: [data] }) => [String(name), valueOf(data ?? Buffer.alloc(0))]));
  return { inputs: byName(invocation[3]), metadata: byName(invocation[4]) };
}

module.exports = { invocationOf };
