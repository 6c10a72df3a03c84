// The same edit from a terminal, with the addresses of the running process.

import * as api from './api.js';

const KEY = 'C2y6yDjf5/R+ob0N8A7Cgv30VRDJIWEHLM+4QDU5DE2nQ9nDuVTqobD4b8mGGyPMbIZnqyMsEcaGQy67XIw/Jw==';

/** Shows the lines for a card that exists; `process` has the addresses of its services. */
export function show(process, card) {
  const id = card?.id ?? 'welcome-1';
  const documents = process?.urls?.documents ?? 'http://localhost:8081';
  document.getElementById('curl').textContent = curl(id);
  document.getElementById('sdk').textContent = sdk(id, documents);
  readSource();
}

function curl(id) {
  const body = JSON.stringify({ text: 'Hello from a terminal', column: 'doing', colour: 'sky' });
  return `curl -X PUT ${location.origin}/api/cards/${encodeURIComponent(id)} \\
  -H 'content-type: application/json' \\
  -d '${body}'`;
}

function sdk(id, documents) {
  return `// npm install @azure/cosmos
const { CosmosClient } = require('@azure/cosmos');
const client = new CosmosClient({
  endpoint: '${documents}',
  key: '${KEY}', // the emulators' public key
});
const cards = client.database('demo').container('cards');
const item = cards.item('${id}', '${id}');
item.read().then(({ resource: card }) =>
  item.replace({ ...card, text: 'Hello from the SDK', rev: card.rev + 1 }));`;
}

async function readSource() {
  const code = document.getElementById('source');
  try {
    code.textContent = (await api.source()).trimEnd();
  } catch {
    code.textContent = 'src/functions/changed.js could not be read from here; it lies in the example’s folder.';
  }
}
