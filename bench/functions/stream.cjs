'use strict';

// The upstream of nginx in `bench functions`: the same response as the app of `stream-app`, from an HTTP server of Node.js. Prints its port.

const { createServer } = require('node:http');
const { Readable } = require('node:stream');

const PIECE = Buffer.alloc(64 * 1024, 'a');

function* pieces(bytes) {
  for (let sent = 0; sent < bytes; sent += PIECE.length) yield PIECE;
}

const server = createServer((request, response) => {
  const bytes = Number(new URL(request.url, 'http://localhost').searchParams.get('bytes'));
  Readable.from(pieces(bytes)).pipe(response);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
