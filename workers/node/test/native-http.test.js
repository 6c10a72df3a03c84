'use strict';

// Requests and responses that are built lazily behave like those of Node.js.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { addNativeRequest, withNativeResponse } = require('../native-http');

const URL_TEXT = 'http://localhost:7071/api/a%20b?x=1&y=%C3%BC';

/** What a script gives, or the class of its error. */
async function outcome(script, target) {
    try {
        return await script(target);
    } catch (error) {
        return `fails with ${error.constructor.name}`;
    }
}

function lazyRequest(method, bytes, headers) {
    const http = { method, url: URL_TEXT, headers, body: bytes ? { bytes } : {} };
    addNativeRequest(http);
    return http.nativeRequest;
}

const SCRIPTS = {
    address: (request) => [request.url, request.method, request.bodyUsed],
    headers: (request) => [...request.headers],
    'changed headers': (request) => {
        request.headers.set('x-a', 'changed');
        return [request.headers.get('x-a'), request.clone().headers.get('x-a'), request.headers === request.headers];
    },
    text: async (request) => [await request.text(), request.bodyUsed],
    json: async (request) => [await request.json(), request.bodyUsed],
    bytes: async (request) => [Buffer.from(await request.arrayBuffer()).toString('hex'), request.bodyUsed],
    blob: async (request) => (await request.blob()).text(),
    form: async (request) => [...(await request.formData())],
    'text twice': async (request) => [await request.text(), await request.text()],
    'text after json': async (request) => [await request.json().catch(() => 'no JSON'), await request.text()],
    'text, then a copy': async (request) => [await request.text(), request.clone().bodyUsed],
    'a copy, then both texts': async (request) => {
        const copy = request.clone();
        return [await request.text(), await copy.text()];
    },
    'a stream': async (request) => {
        const chunks = [];
        for await (const chunk of request.body ?? []) chunks.push(Buffer.from(chunk));
        return [Buffer.concat(chunks).toString(), request.bodyUsed];
    },
    'a stream after text': async (request) => [await request.text(), request.body?.locked, request.bodyUsed],
};

test('a lazy request gives what a Request gives', async () => {
    const headers = { 'x-a': '1', 'content-type': 'application/x-www-form-urlencoded', cookie: 'a=1; b=2' };
    const bodies = [undefined, Buffer.from('{"a":"ü"}'), Buffer.from('\ufeff{"bom":1}'), Buffer.from('a=1&b=2'), Buffer.from([0, 255, 128])];
    for (const method of ['GET', 'POST', 'DELETE']) {
        for (const bytes of method === 'GET' ? [undefined] : bodies) {
            for (const [name, script] of Object.entries(SCRIPTS)) {
                const expected = await outcome(script, new Request(URL_TEXT, { method, headers, body: bytes }));
                assert.deepEqual(await outcome(script, lazyRequest(method, bytes, headers)), expected, `${method} ${bytes}: ${name}`);
            }
        }
    }
});

test('a request that Request may refuse is left to the library', () => {
    const added = (change) => {
        const http = { method: 'GET', url: URL_TEXT, headers: {}, body: {}, ...change };
        addNativeRequest(http);
        return http.nativeRequest !== undefined;
    };
    assert.ok(added({}));
    assert.ok(!added({ method: 'TRACE' }));
    assert.ok(!added({ url: 'http://user@localhost/' }));
    assert.ok(!added({ url: 'http://localhost:99999/' }));
    assert.ok(!added({ headers: { 'x-a': '€' } }));
    assert.ok(!added({ body: { bytes: Buffer.from('a body') } }), 'GET has none');
});

test('the library can copy the data of a lazy request', () => {
    const http = { method: 'GET', url: URL_TEXT, headers: { a: '1' }, body: {} };
    addNativeRequest(http);
    assert.deepEqual(structuredClone(http), { method: 'GET', url: URL_TEXT, headers: { a: '1' }, body: {} });
});

/** What the library sends of a response. */
async function sent(response) {
    const body = Buffer.from(await response.arrayBuffer()).toString('hex');
    return { status: response.status, headers: [...response.headers.entries()], body };
}

test('a lazy response gives what a Response gives', async () => {
    for (const body of [undefined, null, '', 'text ü', Buffer.from('bytes'), new Uint8Array([1, 2, 3]).subarray(1)]) {
        for (const status of [undefined, 200, 418, 599]) {
            for (const headers of [undefined, { 'X-B': '2', 'x-a': '1' }, { 'Content-Type': 'text/html' }, [['set-cookie', 'a=1'], ['set-cookie', 'b=2']]]) {
                const result = { status, headers, body };
                const { nativeResponse } = withNativeResponse(result);
                assert.deepEqual(await sent(nativeResponse), await sent(new Response(body, result)));
            }
        }
    }
});

test('a JSON body is text with its content type, unless there is another', async () => {
    const { nativeResponse } = withNativeResponse({ status: 201, jsonBody: { a: [1] } });
    const json = Buffer.from('{"a":[1]}').toString('hex');
    assert.deepEqual(await sent(nativeResponse), { status: 201, headers: [['content-type', 'application/json']], body: json });
    const other = withNativeResponse({ jsonBody: 1, headers: { 'content-type': 'application/problem+json' } });
    assert.equal(other.nativeResponse.headers.get('content-type'), 'application/problem+json');
});

test('a result that is not a plain text or bytes is left to the library', () => {
    class Own {
        body = 'text';
    }
    const results = [undefined, null, 'text', new Own(), { status: 204 }, { status: 700 }, { status: '201' }, { body: new URLSearchParams('a=1') }, { body: new Blob(['a']) }];
    for (const result of results) assert.equal(withNativeResponse(result), result);
});

test('a function can use its buffer again as soon as it has returned', async () => {
    const body = new Uint8Array([1, 2, 3]);
    const bytes = await withNativeResponse({ body }).nativeResponse.arrayBuffer();
    body.fill(9);
    assert.deepEqual([...new Uint8Array(bytes)], [1, 2, 3]);
});
