'use strict';

// A baseline of `bench functions`: an HTTP server of Node.js that does the same as the app. Prints its port.

const { createServer } = require('node:http');

const server = createServer((request, response) => {
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  response.end('hello');
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
