// A card has changed: send it to every connected browser.
const { app, output } = require('@azure/functions');

const board = output.generic({ type: 'signalR', hubName: 'board' });

app.cosmosDB('changed', {
  connection: 'CosmosDBConnection',
  databaseName: 'demo',
  containerName: 'cards',
  createLeaseContainerIfNotExists: true,
  startFromBeginning: true,
  extraOutputs: [board],
  handler: (cards, context) => {
    const trap = cards.find((card) => card.text?.includes('throw'));
    if (trap) throw new Error(`card ${trap.id} told me to throw`);

    const trace = { traceparent: context.traceContext.traceParent };
    context.extraOutputs.set(board, cards.map((card) => (
      { target: 'cardChanged', arguments: [card, trace] }
    )));
    context.log(`told everybody about ${cards.map((card) => card.id)}`);
  },
});
