'use strict';

// The worker's side of FunctionRpc, as far as a replacement needs it: that of the scripted workers of the crate's tests.

const WORKERS = '../../../crates/functions/tests/workers';
const { message, parse } = require(`${WORKERS}/protobuf.js`);

/** A map field whose values are texts, or messages that contain one text. */
function textMap(entries, isWrapped) {
  return Object.fromEntries(entries.map(parse).map(({ 1: [name], 2: [value = Buffer.alloc(0)] }) => (
    [String(name ?? ''), isWrapped ? String(parse(value)[1][0] ?? '') : String(value)]
  )));
}

/** Connects as the flags of a worker's command line say. `take(content number, body)` gets each message of the host; returns the
 * function that sends. */
function connect(take) {
  // The worker connects as soon as this module is loaded.
  const { run, send } = require(`${WORKERS}/rpc.js`);
  run(take);
  return send;
}

module.exports = { connect, message, parse, textMap };
