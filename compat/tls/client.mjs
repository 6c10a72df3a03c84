// A hub client over TLS, in a process of its own: Node.js reads NODE_EXTRA_CA_CERTS only when it starts.
// Arguments: address, token, protocol. Prints `connected`, then each message of the target `news` as JSON.

import { client } from '../harness.mjs';

const [url, accessToken, protocol] = process.argv.slice(2);
const connection = client(url, { accessToken, protocol, retry: false });
connection.on('news', (...message) => {
  console.log(JSON.stringify(message));
});
await connection.start();
console.log('connected');
