'use strict';

// Replaces the .NET isolated worker of an app with deferred bindings. Its announcement, its functions and its responses are the recorded
// bytes (`cosmos-deferred.jsonl`, from the vectors of the project: Microsoft.Azure.Functions.Worker 2.52.0 with the public Cosmos DB
// extension 4.16.1). It writes what the host sends to the file RECORDED_INVOCATIONS, one line each.

const { appendFileSync } = require('node:fs');

process.env.FUNCTIONS_HOST_CSHARP = __dirname;
const { connect, message, parse } = require('../functions-host/csharp/function-rpc.cjs');
const { CONTENT, recorded, startOf, takeFor } = require('../functions-host/csharp/recorded.cjs');
const { invocationOf } = require('./invocation.cjs');

const start = startOf('cosmos-deferred.jsonl');
/** Function id -> the recorded responses, in order. */
const answers = new Map();
const asked = new Map();
for (const { content, body } of recorded('cosmos-deferred.jsonl')) {
  const fields = body && parse(body);
  if (content === CONTENT.invoke) asked.set(String(fields[1][0]), String(fields[2][0]));
  if (content !== CONTENT.invoked) continue;
  const id = asked.get(String(fields[1][0]));
  answers.set(id, [...(answers.get(id) ?? []), fields]);
}

const send = connect(takeFor(start, (...content) => send(...content), (content, invocation) => {
  if (content !== CONTENT.invoke) return;
  const [id, functionId] = [String(invocation[1][0]), String(invocation[2][0])];
  const line = { function: start.names.get(functionId), ...invocationOf(invocation) };
  appendFileSync(process.env.RECORDED_INVOCATIONS, `${JSON.stringify(line)}\n`);
  const left = answers.get(functionId);
  const answer = left.length > 1 ? left.shift() : left[0];
  const rest = Object.entries(answer).filter(([number]) => number !== '1');
  send(CONTENT.invoked, message([1, id], ...rest.flatMap(([number, values]) => values.map((value) => [Number(number), value]))));
}));
