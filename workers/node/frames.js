'use strict';

// The frames between host and worker, version 1: length, header length, JSON header, body. Described in the host's crate
// `worker-protocol` (module `frames`). Reads and writes buffers, not sockets.

const VERSION = 1;
const LENGTH_BYTES = 4;

// Texts of at least this size go into the body, where nothing is escaped.
const BODY_TEXT_BYTES_MIN = 256;

// A body of at most this size is copied behind its header, so that the frame is one buffer.
const JOINED_BODY_BYTES_MAX = 4096;

// A frame of at least this size gets a buffer of its own as soon as its length is known. Joining its chunks at the end would need
// twice the memory.
const LARGE_FRAME_BYTES = 1 << 20;

/** Splits a stream into frames. Chunks are joined when a frame is complete, so that each is copied once. */
class Decoder {
    #chunks = [];
    #bytes = 0;
    #bytesMax;
    #large = undefined;
    #largeBytes = 0;

    constructor(bytesMax) {
        this.#bytesMax = bytesMax;
    }

    /** Adds a chunk and passes each frame that is complete now to `each(header, body)`. */
    push(chunk, each) {
        if (this.#large) chunk = this.#fill(chunk, each);
        if (chunk.length === 0) return;
        this.#chunks.push(chunk);
        this.#bytes += chunk.length;
        for (;;) {
            if (this.#bytes < LENGTH_BYTES) return;
            if (this.#chunks[0].length < LENGTH_BYTES) this.#chunks = [Buffer.concat(this.#chunks)];
            const frameBytes = this.#chunks[0].readUInt32BE(0);
            if (frameBytes > this.#bytesMax) {
                throw new Error(`frame of ${frameBytes} bytes; at most ${this.#bytesMax} are allowed`);
            }
            const end = LENGTH_BYTES + frameBytes;
            if (this.#bytes < end) {
                if (end >= LARGE_FRAME_BYTES) this.#begin(end);
                return;
            }
            const all = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
            const rest = all.subarray(end);
            this.#chunks = rest.length > 0 ? [rest] : [];
            this.#bytes = rest.length;
            this.#give(all, end, each);
        }
    }

    /** Starts a large frame with the part that was received. */
    #begin(end) {
        this.#large = Buffer.allocUnsafeSlow(end);
        this.#largeBytes = 0;
        for (const chunk of this.#chunks) this.#largeBytes += chunk.copy(this.#large, this.#largeBytes);
        this.#chunks = [];
        this.#bytes = 0;
    }

    /** Adds a chunk to the large frame and gives the rest of the chunk. */
    #fill(chunk, each) {
        const copied = chunk.copy(this.#large, this.#largeBytes);
        this.#largeBytes += copied;
        if (this.#largeBytes === this.#large.length) {
            const all = this.#large;
            this.#large = undefined;
            this.#give(all, all.length, each);
        }
        return chunk.subarray(copied);
    }

    #give(all, end, each) {
        const headerEnd = 2 * LENGTH_BYTES + all.readUInt32BE(LENGTH_BYTES);
        if (headerEnd > end) throw new Error(`a head that ends at ${headerEnd} in a frame that ends at ${end}`);
        each(JSON.parse(all.toString('utf8', 2 * LENGTH_BYTES, headerEnd)), all.subarray(headerEnd, end));
    }
}

/** The body of a frame while it is built. */
class Body {
    chunks = [];
    bytes = 0;

    /** Appends bytes and gives their range. */
    push(chunk) {
        const place = [this.bytes, chunk.length];
        if (chunk.length > 0) this.chunks.push(chunk);
        this.bytes += chunk.length;
        return place;
    }
}

/** Encodes a frame as a list of buffers. */
function encode(head, body, bytesMax) {
    const json = JSON.stringify(head);
    const jsonBytes = Buffer.byteLength(json, 'utf8');
    const bytes = LENGTH_BYTES + jsonBytes + body.bytes;
    if (bytes > bytesMax) throw new RangeError(`message of ${bytes} bytes; at most ${bytesMax} are allowed`);
    const isSmall = body.bytes > 0 && body.bytes <= JOINED_BODY_BYTES_MAX;
    const first = Buffer.allocUnsafe(2 * LENGTH_BYTES + jsonBytes + (isSmall ? body.bytes : 0));
    first.writeUInt32BE(bytes, 0);
    first.writeUInt32BE(jsonBytes, LENGTH_BYTES);
    let end = 2 * LENGTH_BYTES + first.write(json, 2 * LENGTH_BYTES, 'utf8');
    if (!isSmall) return [first, ...body.chunks];
    for (const chunk of body.chunks) end += chunk.copy(first, end);
    return [first];
}

function toBytes(value) {
    if (Buffer.isBuffer(value)) return value;
    if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    return Buffer.from(value);
}

function encodeText(text, body) {
    if (text.length < BODY_TEXT_BYTES_MIN) return text;
    return body.push(Buffer.from(text, 'utf8'));
}

// Values may be numbers, `Long`s or `BigInt`s; an integer that a float cannot represent is sent as text.
function encodeInt(value) {
    if (typeof value === 'number') return Number.isSafeInteger(value) ? value : String(value);
    const text = String(value);
    const number = Number(text);
    return Number.isSafeInteger(number) ? number : text;
}

function encodeDouble(value) {
    return Number.isFinite(value) ? value : String(value);
}

function encodeModel(model, body) {
    const { version, source, contentType, content } = model;
    return { version, source, contentType, content: body.push(toBytes(content ?? [])) };
}

/** A value of the core API (an object with one of FunctionRpc's kinds as its key) in the form of a frame. */
function encodeValue(data, body) {
    if (data === null || data === undefined) return null;
    const is = (key) => data[key] !== null && data[key] !== undefined;
    if (is('string')) return { string: encodeText(data.string, body) };
    if (is('json')) return { json: encodeText(data.json, body) };
    if (is('bytes')) return { bytes: body.push(toBytes(data.bytes)) };
    if (is('stream')) return { stream: body.push(toBytes(data.stream)) };
    if (is('http')) return { http: encodeHttp(data.http, body) };
    if (is('int')) return { int: encodeInt(data.int) };
    if (is('double')) return { double: encodeDouble(data.double) };
    if (is('collectionBytes')) return { collectionBytes: data.collectionBytes.bytes.map((one) => body.push(toBytes(one))) };
    if (is('collectionString')) return { collectionString: data.collectionString.string.map((one) => encodeText(one, body)) };
    if (is('collectionDouble')) return { collectionDouble: data.collectionDouble.double.map(encodeDouble) };
    if (is('collectionSint64')) return { collectionSint64: data.collectionSint64.sint64.map(encodeInt) };
    if (is('modelBindingData')) return { modelBindingData: encodeModel(data.modelBindingData, body) };
    if (is('collectionModelBindingData')) {
        const models = data.collectionModelBindingData.modelBindingData;
        return { collectionModelBindingData: models.map((model) => encodeModel(model, body)) };
    }
    return null;
}

function encodeHttp(http, body) {
    return {
        statusCode: http.statusCode === undefined || http.statusCode === null ? '' : String(http.statusCode),
        headers: http.headers ?? {},
        body: encodeValue(http.body, body),
        enableContentNegotiation: Boolean(http.enableContentNegotiation),
        cookies: (http.cookies ?? []).map(encodeCookie),
    };
}

const SAME_SITE = { none: 'unset', lax: 'lax', strict: 'strict', explicitNone: 'none' };

function encodeCookie(cookie) {
    const expires = cookie.expires?.value;
    return {
        name: cookie.name ?? '',
        value: cookie.value ?? '',
        domain: cookie.domain?.value ?? null,
        path: cookie.path?.value ?? null,
        expiresMs: expires ? Number(expires.seconds ?? 0) * 1000 : null,
        secure: cookie.secure?.value ?? null,
        httpOnly: cookie.httpOnly?.value ?? null,
        sameSite: SAME_SITE[cookie.sameSite] ?? 'unset',
        maxAge: cookie.maxAge?.value ?? null,
    };
}

function decodeText(text, body) {
    return typeof text === 'string' ? text : body.toString('utf8', text[0], text[0] + text[1]);
}

function decodeBytes([at, length], body) {
    return body.subarray(at, at + length);
}

// A text stays a text: it is exact and, unlike a BigInt, JSON.stringify accepts it.
function decodeDouble(value) {
    return typeof value === 'number' ? value : Number(value);
}

function decodeModel(model, body) {
    return { ...model, content: decodeBytes(model.content, body) };
}

/** The opposite direction. */
function decodeValue(value, body) {
    if (value === null || value === undefined) return {};
    const [kind] = Object.keys(value);
    const data = value[kind];
    switch (kind) {
        case 'string':
        case 'json':
            return { [kind]: decodeText(data, body) };
        case 'bytes':
        case 'stream':
            return { [kind]: decodeBytes(data, body) };
        case 'http':
            return { http: { ...data, body: decodeValue(data.body, body) } };
        case 'int':
            return { int: data };
        case 'double':
            return { double: decodeDouble(data) };
        case 'collectionBytes':
            return { collectionBytes: { bytes: data.map((one) => decodeBytes(one, body)) } };
        case 'collectionString':
            return { collectionString: { string: data.map((one) => decodeText(one, body)) } };
        case 'collectionDouble':
            return { collectionDouble: { double: data.map(decodeDouble) } };
        case 'collectionSint64':
            return { collectionSint64: { sint64: data } };
        case 'modelBindingData':
            return { modelBindingData: decodeModel(data, body) };
        case 'collectionModelBindingData':
            return { collectionModelBindingData: { modelBindingData: data.map((model) => decodeModel(model, body)) } };
        default:
            throw new Error(`the host sent a value of the unknown kind '${kind}'`);
    }
}

module.exports = { VERSION, Decoder, Body, encode, encodeValue, decodeValue };
