// The app of `bench functions`: one function that does nothing, so that what is left is the cost of host, worker and library.

const { app } = require('@azure/functions');

app.http('hello', { methods: ['GET'], authLevel: 'anonymous', handler: async () => ({ body: 'hello' }) });
