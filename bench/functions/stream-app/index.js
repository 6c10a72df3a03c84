// The app of `bench functions` for streamed bodies: a response of as many bytes as the query says, in pieces of 64 KiB.

const { app } = require('@azure/functions');
const { Readable } = require('node:stream');

app.setup({ enableHttpStream: true });

const PIECE = Buffer.alloc(64 * 1024, 'a');

function* pieces(bytes) {
  for (let sent = 0; sent < bytes; sent += PIECE.length) yield PIECE;
}

app.http('stream', {
  methods: ['GET'],
  authLevel: 'anonymous',
  handler: async (request) => ({ body: Readable.from(pieces(Number(request.query.get('bytes')))) }),
});
