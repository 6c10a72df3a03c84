'use strict';

// Apps that ask for HTTP streams (`app.setup({ enableHttpStream: true })`) let the library start an HTTP server, to which the host forwards
// each request beside the invocation. This file binds that server to the loopback interface and applies backpressure to its responses:
// the library itself writes as fast as the function produces.

const net = require('node:net');

/** Responses that the library's server has not sent yet, by invocation. */
class HttpStreams {
    #responses = new Map();
    // Whether the app asked for streams.
    isUsed = false;

    /** Runs `start`, in which the library starts its server, and returns its result. */
    async watch(start) {
        const { listen } = net.Server.prototype;
        const streams = this;
        net.Server.prototype.listen = function chappeListen(...args) {
            // The library gives no port and no address, so its server would accept requests from the whole network, without keys.
            if (typeof args[0] !== 'function' || args.length !== 1) return Reflect.apply(listen, this, args);
            streams.#adopt(this);
            return Reflect.apply(listen, this, [0, '127.0.0.1', args[0]]);
        };
        try {
            return await start();
        } finally {
            net.Server.prototype.listen = listen;
        }
    }

    #adopt(server) {
        this.isUsed = true;
        // The host limits the time of a request.
        server.requestTimeout = 0;
        server.prependListener('request', (request, response) => {
            const id = request.headers['x-ms-invocation-id'];
            this.#responses.set(id, response);
            response.once('close', () => this.#responses.delete(id));
        });
    }

    /** The result of a function, with a body that is read as fast as the client reads, until the invocation is cancelled. */
    paced(invocationId, result, cancellation) {
        const response = this.#responses.get(invocationId);
        const body = result?.body;
        if (!response || typeof body?.[Symbol.asyncIterator] !== 'function') return result;
        const values = () => withBackpressure(body, response, cancellation.signal);
        // The body of a response object of the library is private; a plain object becomes one later.
        if (typeof result.arrayBuffer === 'function') {
            Object.defineProperty(result, 'body', { value: { values }, configurable: true });
            return result;
        }
        return { ...result, body: values() };
    }
}

/** Yields the chunks of `source`, each after the previous one was written. */
async function* withBackpressure(source, response, signal) {
    for await (const piece of source) {
        if (response.destroyed || signal.aborted) return;
        yield piece;
        if (response.writableNeedDrain) await room(response);
    }
}

/** Waits until a response accepts more, or its reader is gone. */
function room(response) {
    return new Promise((resolve) => {
        const done = () => {
            response.off('drain', done);
            response.off('close', done);
            resolve();
        };
        response.on('drain', done);
        response.on('close', done);
        if (response.destroyed) done();
    });
}

module.exports = { HttpStreams };
