'use strict';

// Apps that ask for HTTP streams (`app.setup({ enableHttpStream: true })`) start a server of their own, to which a host
// forwards requests beside the invocation. This road has no such second way in, so the worker forwards them itself.
// Bodies are whole on this way; they stream only where the host itself is the forwarder.

const http = require('node:http');

function findRequest(core) {
    const binding = core.request.inputData.find(({ data }) => data.http);
    return binding?.data.http;
}

/** Forwards the request of an HTTP invocation to the library's server; gives its answer in the core API's words. */
async function proxyHttp(uri, core, running) {
    const incoming = findRequest(core);
    if (!incoming) return undefined;
    const { pathname, search, host, protocol } = new URL(incoming.url);
    const { hostname, port } = new URL(uri);
    const abort = new AbortController();
    // An invocation that fails before it takes the request leaves nobody to answer it.
    running.catch(() => abort.abort());
    const headers = {
        ...incoming.headers,
        'x-ms-invocation-id': core.invocationId,
        'x-forwarded-host': incoming.headers['x-forwarded-host'] ?? host,
        'x-forwarded-proto': incoming.headers['x-forwarded-proto'] ?? protocol.slice(0, -1),
    };
    delete headers['transfer-encoding'];
    const sent = incoming.body.bytes ?? incoming.body.string ?? Buffer.alloc(0);
    headers['content-length'] = String(Buffer.byteLength(sent));
    const options = { hostname, port, method: incoming.method, path: pathname + search, headers, signal: abort.signal };
    return new Promise((resolve, reject) => {
        const request = http.request(options, (response) => {
            const chunks = [];
            response.on('data', (chunk) => chunks.push(chunk));
            response.on('error', reject);
            response.on('end', () => {
                const { 'transfer-encoding': _, connection: __, ...kept } = response.headers;
                const cookies = kept['set-cookie'];
                if (cookies) kept['set-cookie'] = cookies.join(', ');
                resolve({ statusCode: String(response.statusCode), headers: kept, body: { bytes: Buffer.concat(chunks) } });
            });
        });
        request.on('error', reject);
        request.end(sent);
    });
}

module.exports = { proxyHttp };
