'use strict';

// Requests and responses for the library `@azure/functions` that build the `Request` and `Response` of Node.js only when they are needed.
// Building them is a third of the cost of an invocation, and most functions read a header or a JSON body and return a text.
//
// The library accepts a ready object as `nativeRequest` and `nativeResponse`. Older versions ignore these properties and build their own.

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']);
const BODILESS = new Set(['GET', 'HEAD']);
// User and password in an address are an error of `Request`.
const PLAIN_URL = /^https?:\/\/[a-z0-9.:[\]-]+\//i;
const PLAIN_VALUE = /^[\t\x20-\x7e]*$/;
const NULL_BODY_STATUSES = new Set([204, 205, 304]);

/** The bytes of a view in an ArrayBuffer of their own. */
function copyOf(bytes) {
    return Uint8Array.prototype.slice.call(bytes).buffer;
}

/** The `Request` of an invocation. */
class LazyRequest {
    #http;
    #bytes;
    #headers = undefined;
    #request = undefined;
    #isRead = false;

    constructor(http, bytes) {
        this.#http = http;
        this.#bytes = bytes;
    }

    #native() {
        if (!this.#request) {
            const { url, method } = this.#http;
            this.#request = new Request(url, { method, headers: this.headers, body: this.#bytes });
            // A body can be read once.
            if (this.#isRead) this.#request.arrayBuffer().catch(() => {});
        }
        return this.#request;
    }

    /** The bytes of the body, for its first reader; otherwise undefined. */
    #read() {
        if (this.#request || this.#isRead || !this.#bytes) return undefined;
        this.#isRead = true;
        return this.#bytes;
    }

    get url() {
        return this.#native().url;
    }

    get method() {
        return this.#http.method;
    }

    get headers() {
        this.#headers ??= new Headers(this.#http.headers);
        return this.#headers;
    }

    get body() {
        return this.#native().body;
    }

    get bodyUsed() {
        return this.#isRead || (this.#request?.bodyUsed ?? false);
    }

    async arrayBuffer() {
        const bytes = this.#read();
        return bytes ? copyOf(bytes) : this.#native().arrayBuffer();
    }

    async text() {
        const bytes = this.#read();
        return bytes ? new TextDecoder().decode(bytes) : this.#native().text();
    }

    async json() {
        const bytes = this.#read();
        return bytes ? JSON.parse(new TextDecoder().decode(bytes)) : this.#native().json();
    }

    blob() {
        return this.#native().blob();
    }

    formData() {
        return this.#native().formData();
    }

    clone() {
        return this.#native().clone();
    }
}

/** Adds a request that is built lazily to the data of an HTTP trigger, unless `Request` may refuse it. */
function addNativeRequest(http) {
    const { method, url, headers, body } = http;
    const bytes = body?.bytes;
    if (!METHODS.has(method) || !PLAIN_URL.test(url) || !URL.canParse?.(url)) return;
    if (body?.string !== undefined || (bytes && BODILESS.has(method))) return;
    for (const name in headers) {
        if (!PLAIN_VALUE.test(headers[name])) return;
    }
    // Not enumerable: the library copies the data when it clones a request.
    Object.defineProperty(http, 'nativeRequest', { value: new LazyRequest(http, bytes) });
}

/** The `Response` to an invocation. */
class LazyResponse {
    #init;
    #body;
    #contentType;
    #headers = undefined;
    #response = undefined;

    constructor(init, body, contentType) {
        this.#init = init;
        this.#body = body;
        this.#contentType = contentType;
    }

    #native() {
        this.#response ??= new Response(this.#body, { status: this.status, headers: this.headers });
        return this.#response;
    }

    get status() {
        return this.#init.status ?? 200;
    }

    get headers() {
        if (!this.#headers) {
            this.#headers = new Headers(this.#init.headers);
            if (this.#contentType && !this.#headers.has('content-type')) this.#headers.set('content-type', this.#contentType);
        }
        return this.#headers;
    }

    get body() {
        return this.#native().body;
    }

    get bodyUsed() {
        return this.#response?.bodyUsed ?? false;
    }

    async arrayBuffer() {
        if (this.#response) return this.#response.arrayBuffer();
        if (typeof this.#body === 'string') {
            const bytes = new TextEncoder().encode(this.#body);
            return bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : copyOf(bytes);
        }
        // Like `Response`, so that the function can use its buffer again.
        return this.#body ? copyOf(this.#body) : new ArrayBuffer(0);
    }

    text() {
        return this.#native().text();
    }

    json() {
        return this.#native().json();
    }

    blob() {
        return this.#native().blob();
    }

    formData() {
        return this.#native().formData();
    }

    clone() {
        return this.#native().clone();
    }
}

function isPlain(value) {
    const prototype = Object.getPrototypeOf(value);
    return prototype === Object.prototype || prototype === null;
}

/** The result of an HTTP function with a response that is built lazily, if it has a body of text or bytes; otherwise the result itself. */
function withNativeResponse(result) {
    if (typeof result !== 'object' || result === null || !isPlain(result) || result.nativeResponse) return result;
    const { status, body, jsonBody } = result;
    const isStatus = status === undefined || (Number.isInteger(status) && status >= 200 && status < 600 && !NULL_BODY_STATUSES.has(status));
    if (!isStatus) return result;
    if (jsonBody !== undefined && jsonBody !== null) {
        const text = JSON.stringify(jsonBody);
        if (text === undefined) return result;
        return { ...result, nativeResponse: new LazyResponse(result, text, 'application/json') };
    }
    if (typeof body === 'string') {
        return { ...result, nativeResponse: new LazyResponse(result, body, 'text/plain;charset=UTF-8') };
    }
    if (body === undefined || body === null || (body instanceof Uint8Array && !(body.buffer instanceof SharedArrayBuffer))) {
        return { ...result, nativeResponse: new LazyResponse(result, body, undefined) };
    }
    return result;
}

module.exports = { addNativeRequest, withNativeResponse };
