// The board as a small HTTP API over documents.
const { app, input, output } = require('@azure/functions');

const container = { connection: 'CosmosDBConnection', databaseName: 'demo', containerName: 'cards' };
// Deleted cards too, so that a client that was disconnected learns of the deletions.
const board = input.cosmosDB({ ...container, sqlQuery: 'SELECT * FROM c' });
const card = input.cosmosDB({ ...container, id: '{id}', partitionKey: '{id}' });
const stored = output.cosmosDB({ ...container, createIfNotExists: true, partitionKey: '/id' });

const COLUMNS = ['todo', 'doing', 'done'];
const COLOURS = ['sand', 'sage', 'sky', 'rose'];

app.http('listCards', {
  methods: ['GET'],
  authLevel: 'anonymous',
  route: 'cards',
  extraInputs: [board],
  handler: (request, context) => ({ jsonBody: context.extraInputs.get(board) }),
});

app.http('putCard', {
  methods: ['PUT'],
  authLevel: 'anonymous',
  route: 'cards/{id}',
  extraInputs: [card],
  extraOutputs: [stored],
  handler: async (request, context) => {
    const body = await request.json().catch(() => null);
    const problem = problemWith(body);
    if (problem) return { status: 400, jsonBody: { error: problem } };
    return store(request, context, { text: body.text, column: body.column, colour: body.colour, deleted: false });
  },
});

// The change feed contains new versions of a document, but no deletes: so a deleted card is only marked.
app.http('deleteCard', {
  methods: ['DELETE'],
  authLevel: 'anonymous',
  route: 'cards/{id}',
  extraInputs: [card],
  extraOutputs: [stored],
  handler: (request, context) => {
    if (!context.extraInputs.get(card)) return { status: 404, jsonBody: { error: 'no such card' } };
    return store(request, context, { deleted: true });
  },
});

/** Each accepted change of a card raises its `rev` by one: with this number the page verifies that no change was lost. */
function store(request, context, change) {
  const { id } = request.params;
  const before = context.extraInputs.get(card) ?? { id, rev: 0 };
  const after = { id, ...fields(before), ...change, rev: before.rev + 1 };
  context.extraOutputs.set(stored, after);
  return { jsonBody: after };
}

function fields({ text, column, colour }) {
  return { text, column, colour };
}

function problemWith(body) {
  if (!body || typeof body.text !== 'string' || body.text.length > 500) return 'text must be up to 500 characters';
  if (!COLUMNS.includes(body.column)) return `column must be one of ${COLUMNS.join(', ')}`;
  if (!COLOURS.includes(body.colour)) return `colour must be one of ${COLOURS.join(', ')}`;
  return null;
}
