'use strict';

// What the worker writes to the host. A function may log faster than the host reads: while the socket is full, log records wait here, in a
// queue for each invocation, and messages of other invocations pass them. The records of an invocation stay before its response.

const { Body, encode } = require('./frames');

/** Records of one queue that are written before the next one has its turn. */
const TURN_RECORDS = 16;

class Outgoing {
    #socket;
    #bytesMax;
    // The waiting frames of each invocation, with the number of those that are written already; '' for records without one.
    #queues = new Map();

    constructor(socket, bytesMax) {
        this.#socket = socket;
        this.#bytesMax = bytesMax;
        socket.on('drain', () => this.#writeTurns());
    }

    send(head, body = new Body(), then = undefined) {
        const frame = { chunks: encode(head, body, this.#bytesMax), then };
        const queue = this.#queues.get(head.invoked?.invocationId);
        if (!queue) return this.#write(frame);
        // The function may use its buffers again before the frame is written.
        frame.chunks = frame.chunks.map((chunk) => Buffer.from(chunk));
        queue.frames.push(frame);
        return undefined;
    }

    log(record) {
        const frame = { chunks: encode({ log: record }, new Body(), this.#bytesMax) };
        const id = record.invocationId ?? '';
        const queue = this.#queues.get(id);
        if (queue) queue.frames.push(frame);
        else if (this.#socket.writableNeedDrain) this.#queues.set(id, { frames: [frame], written: 0 });
        else this.#write(frame);
    }

    /** Writes all that waits, before the process ends. */
    flush() {
        for (const { frames, written } of this.#queues.values()) {
            for (const frame of frames.slice(written)) this.#write(frame);
        }
        this.#queues.clear();
    }

    /** Writes from each queue in turn until the socket is full. */
    #writeTurns() {
        while (this.#queues.size > 0 && !this.#socket.writableNeedDrain) {
            const [[id, queue]] = this.#queues;
            this.#queues.delete(id);
            const end = Math.min(queue.frames.length, queue.written + TURN_RECORDS);
            while (queue.written < end && !this.#socket.writableNeedDrain) {
                const frame = queue.frames[queue.written];
                queue.frames[queue.written] = undefined;
                queue.written += 1;
                this.#write(frame);
            }
            // Behind the others.
            if (queue.written < queue.frames.length) this.#queues.set(id, queue);
        }
    }

    #write({ chunks, then }) {
        const last = chunks.length - 1;
        if (last > 0) this.#socket.cork();
        // At once: the next function may block the event loop, or end the process.
        for (let at = 0; at < last; at += 1) this.#socket.write(chunks[at]);
        this.#socket.write(chunks[last], then);
        if (last > 0) this.#socket.uncork();
    }
}

module.exports = { Outgoing };
