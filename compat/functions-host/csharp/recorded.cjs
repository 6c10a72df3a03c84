'use strict';

// The recorded messages of the real .NET worker, in the folder FUNCTIONS_HOST_CSHARP.

const { createHash } = require('node:crypto');
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { message, parse } = require('./function-rpc.cjs');

const CONTENT = {
  invoke: 4, invoked: 5, load: 8, loaded: 9, status: 12, statusAnswer: 13, terminate: 14, initAnswer: 16, init: 17, metadata: 29, metadataAnswer: 30,
};
const SUCCESS = message([4, 1]);

/** The messages of a file, as content number and body. */
function recorded(file) {
  const lines = readFileSync(path.join(process.env.FUNCTIONS_HOST_CSHARP, file), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  return lines.map(({ hex }) => {
    const fields = parse(Buffer.from(hex, 'hex'));
    const content = Object.keys(fields).map(Number).find((number) => number !== 1);
    return { content, body: content && fields[content][0] };
  });
}

/** What a worker announces: its responses to the first two requests, and function id -> name. */
function startOf(file) {
  const all = recorded(file);
  const bodyOf = (content) => all.find((each) => each.content === content).body;
  const functions = parse(bodyOf(CONTENT.metadataAnswer))[1].map(parse);
  return {
    initAnswer: bodyOf(CONTENT.initAnswer), metadataAnswer: bodyOf(CONTENT.metadataAnswer),
    names: new Map(functions.map((each) => [String(each[13][0]), String(each[4][0])])),
  };
}

/** Responds to the messages that are the same for every worker; the others are for the caller. */
function takeFor(start, send, others) {
  return (content, body) => {
    switch (content) {
      case CONTENT.init: return send(CONTENT.initAnswer, start.initAnswer);
      case CONTENT.metadata: return send(CONTENT.metadataAnswer, start.metadataAnswer);
      case CONTENT.load: return send(CONTENT.loaded, message([1, body[1][0]], [2, SUCCESS]));
      case CONTENT.status: return send(CONTENT.statusAnswer, Buffer.alloc(0));
      case CONTENT.terminate: return process.exit(0);
      default: return others(content, body);
    }
  };
}

/** A failed result, in the form in which the worker reports an exception. */
function failure(error) {
  return message([2, message([1, error.stack], [2, error.message], [5, 'System.InvalidOperationException'])]);
}

/** Trigger metadata of an InvocationRequest, as text. */
function metadataOf(invocation) {
  return Object.fromEntries(invocation[4].map(parse).map(({ 1: [name], 2: [data] }) => {
    const value = parse(data);
    return [String(name ?? ''), String(value[1]?.[0] ?? value[2]?.[0] ?? '')];
  }));
}

const shortHash = (bytes) => createHash('sha256').update(bytes).digest('hex').toUpperCase().slice(0, 16);

/** Names that .NET's header collections write in their usual form. */
const KNOWN = ['Accept', 'Content-Length', 'Content-Type', 'Cookie', 'Host', 'Transfer-Encoding', 'User-Agent'];
const usualName = (name) => KNOWN.find((each) => each.toLowerCase() === name.toLowerCase()) ?? name;

module.exports = { CONTENT, SUCCESS, failure, metadataOf, recorded, shortHash, startOf, takeFor, usualName };
