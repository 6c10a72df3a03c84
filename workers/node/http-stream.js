'use strict';

// Apps that ask for HTTP streams (`app.setup({ enableHttpStream: true })`) let the library start an HTTP server, to which the host hands
// each request itself beside the invocation. This file makes that server keep to this machine, and its responses to the pace of their
// readers: the library writes as fast as the function gives.

const net = require('node:net');

/** The responses that the library's server has yet to send, by invocation. */
class HttpStreams {
    #responses = new Map();

    /** Runs `start`, in which the library starts its server, and gives what it gives. */
    async watch(start) {
        const { listen } = net.Server.prototype;
        const streams = this;
        net.Server.prototype.listen = function chappeListen(...args) {
            // The library names neither a port nor an address, so that its server would answer the whole network, without keys.
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
        // How long a request may take is the host's to say.
        server.requestTimeout = 0;
        server.prependListener('request', (request, response) => {
            const id = request.headers['x-ms-invocation-id'];
            this.#responses.set(id, response);
            response.once('close', () => this.#responses.delete(id));
        });
    }

    /** The result of a function, whose body is read no faster than the client takes it, and not beyond `signal`. */
    paced(invocationId, result, signal) {
        const response = this.#responses.get(invocationId);
        const body = result?.body;
        if (!response || typeof body?.[Symbol.asyncIterator] !== 'function') return result;
        const values = () => pace(body, response, signal);
        // A response object of the library keeps its body to itself, and a plain one is made into such an object later.
        if (typeof result.arrayBuffer === 'function') {
            Object.defineProperty(result, 'body', { value: { values }, configurable: true });
            return result;
        }
        return { ...result, body: values() };
    }
}

/** Gives what `source` gives, each piece once the one before is on its way. */
async function* pace(source, response, signal) {
    for await (const piece of source) {
        if (response.destroyed || signal.aborted) return;
        yield piece;
        if (response.writableNeedDrain) await room(response);
    }
}

/** Waits until a response takes more, or nobody reads it any longer. */
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
