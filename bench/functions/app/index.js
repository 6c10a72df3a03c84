// The app of `bench functions`: one function that does nothing, so that only the cost of host, worker and library is measured.

const { app } = require('@azure/functions');

app.http('hello', { methods: ['GET'], authLevel: 'anonymous', handler: async () => ({ body: 'hello' }) });
