// At the first start the board is empty: add three cards.
const { app, input, output } = require('@azure/functions');

const container = { connection: 'CosmosDBConnection', databaseName: 'demo', containerName: 'cards' };
const first = input.cosmosDB({ ...container, id: 'welcome-1', partitionKey: 'welcome-1' });
const cards = output.cosmosDB({ ...container, createIfNotExists: true, partitionKey: '/id' });

app.timer('welcome', {
  schedule: '0 0 0 1 1 *',
  runOnStartup: true,
  extraInputs: [first],
  extraOutputs: [cards],
  handler: (timer, context) => {
    if (context.extraInputs.get(first)) return;
    context.extraOutputs.set(cards, [
      { id: 'welcome-1', text: 'Edit me, and watch the other pane', column: 'todo', colour: 'sand' },
      { id: 'welcome-2', text: 'Open this page in a second window', column: 'doing', colour: 'sky' },
      { id: 'welcome-3', text: 'Kill the process; nothing is lost', column: 'done', colour: 'sage' },
    ].map((card) => ({ ...card, deleted: false, rev: 1 })));
  },
});
