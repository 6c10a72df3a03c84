'use strict';

// A baseline of `bench functions`: the library `@azure/functions` called in a loop, without a worker process and a host. Each line of
// standard input is a number of milliseconds; the response is a line of JSON: number of calls, their wall time, and p50 and p99 of one
// call, in nanoseconds.
//
//   node library.cjs FOLDER    the app's folder

const Module = require('node:module');
const path = require('node:path');
const { createInterface } = require('node:readline');

let model;
let handler;
const core = {
  version: '4.0.0',
  hostVersion: '4.0.0',
  Disposable: class {},
  log() {},
  setProgrammingModel(given) { model = given; },
  registerHook() {},
  registerFunction(metadata, callback) { handler = { metadata, callback }; },
};
const load = Module._load;
Module._load = function loadCore(request, ...rest) {
  return request === '@azure/functions-core' ? core : Reflect.apply(load, this, [request, ...rest]);
};
require(path.resolve(process.argv[2], 'index.js'));

let number = 0;
const [trigger] = Object.keys(handler.metadata.bindings);

async function call() {
  number += 1;
  const request = {
    invocationId: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
    functionId: 'hello',
    inputData: [{
      name: trigger,
      data: { http: { method: 'GET', url: 'http://127.0.0.1:7071/api/hello', headers: { host: '127.0.0.1:7071' }, query: {}, params: {} } },
    }],
    triggerMetadata: {},
    traceContext: { traceParent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', traceState: '', attributes: {} },
  };
  const invocation = await model.getInvocationModel({ invocationId: request.invocationId, request, metadata: handler.metadata, log() {} });
  const { context, inputs } = await invocation.getArguments();
  const result = await invocation.invokeFunction(context, inputs, handler.callback);
  return invocation.getResponse(context, result);
}

async function sample(ms) {
  const times = [];
  const began = process.hrtime.bigint();
  const until = began + BigInt(ms) * 1_000_000n;
  let now = began;
  while (now < until) {
    await call();
    const end = process.hrtime.bigint();
    times.push(Number(end - now));
    now = end;
  }
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.floor((times.length - 1) * share)];
  return { calls: times.length, wall_ns: Number(now - began), p50_ns: at(0.5), p99_ns: at(0.99) };
}

(async () => {
  const response = await call();
  const { returnValue } = response;
  if (!returnValue?.http) throw new Error(`the library gave ${JSON.stringify(response)}`);
  console.log('ready');
  for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(await sample(Number(line))));
})();
