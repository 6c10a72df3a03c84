'use strict';

// Loaded into our Node.js worker before its own files (`--require`): writes each invocation of the host as one line of JSON before the
// worker handles it. The worker itself is unchanged.

const { appendFileSync } = require('node:fs');
const Module = require('node:module');

const load = Module._load;
Module._load = function loadAndWatch(request, parent, isMain) {
  const loaded = load.call(this, request, parent, isMain);
  if (request !== './frames' || !parent?.filename.endsWith('worker.js')) return loaded;
  class Decoder extends loaded.Decoder {
    push(chunk, each) {
      super.push(chunk, (head, body) => {
        if (head.invoke) record(head.invoke, body, loaded.decodeValue);
        each(head, body);
      });
    }
  }
  return { ...loaded, Decoder };
};

function record({ functionId, inputData, triggerMetadata, retryContext }, body, decode) {
  const metadata = Object.entries(triggerMetadata).map(([name, value]) => [name, decode(value, body)]);
  const line = {
    function: functionId,
    inputs: inputData.map(({ name, data }) => ({ name, data: decode(data, body) })),
    metadata: Object.fromEntries(metadata),
    retry: retryContext ?? null,
  };
  appendFileSync(process.env.FUNCTIONS_HOST_RECORD, `${JSON.stringify(line)}\n`);
}
