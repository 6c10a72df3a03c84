// A card changes: tell every connected browser.
const { app, output } = require('@azure/functions');

const browsers = output.generic({ type: 'signalR', name: 'browsers', hubName: 'board' });

app.cosmosDB('changed', {
  connection: 'CosmosDBConnection',
  databaseName: 'demo',
  containerName: 'cards',
  createLeaseContainerIfNotExists: true,
  startFromBeginning: true,
  extraOutputs: [browsers],
  handler: (cards, context) => {
    const trap = cards.find((card) => card.text?.includes('throw'));
    if (trap) throw new Error(`card ${trap.id} told me to throw`);

    const { traceParent } = context.traceContext;
    context.extraOutputs.set(
      browsers,
      cards.map((card) => ({ target: 'cardChanged', arguments: [card, { traceparent: traceParent }] })),
    );
    context.log(`told every browser about ${cards.map((card) => card.id).join(', ')}`);
  },
});
