// A browser wants to connect to the hub: return its address and a token.
const { app, input } = require('@azure/functions');

const hub = input.generic({ type: 'signalRConnectionInfo', name: 'hub', hubName: 'board' });

app.http('negotiate', {
  methods: ['POST'],
  authLevel: 'anonymous',
  extraInputs: [hub],
  handler: (request, context) => ({ jsonBody: context.extraInputs.get(hub) }),
});
