'use strict';

// Replays what a real .NET isolated worker with ASP.NET Core integration said, byte by byte, at the pace of the recording (`aspnet.jsonl`,
// from the vectors of the project: Microsoft.Azure.Functions.Worker 2.52.0 on .NET 10). Only ids of invocations, and the port of its
// HTTP server, are this run's. What the host says is compared with the recording; a difference is printed.

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { once } = require('node:events');
const { message, parse, run, send } = require('../rpc');

const lines = fs.readFileSync(path.join(__dirname, 'aspnet.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
const recorded = (name) => lines.filter((line) => line.message === name).map(({ hex }) => contentOf(hex));
const calls = lines.flatMap(({ call }) => (call ? [call] : []));

/** The content of a recorded message, without the request id. */
function contentOf(hex) {
    const fields = parse(Buffer.from(hex, 'hex'));
    const [number] = Object.keys(fields).map(Number).filter((number) => number !== 1);
    return { number, bytes: fields[number][0] };
}

/** A message with another value in one field. */
function replaced(bytes, number, value) {
    const fields = { ...parse(bytes), [number]: [value] };
    return message(...Object.entries(fields).flatMap(([field, values]) => values.map((one) => [Number(field), one])));
}

const repeat = ({ number, bytes }) => send(number, bytes);
const differs = (what, found, expected) => console.log(`DIFFERENT ${what}: ${JSON.stringify(found)}, not ${JSON.stringify(expected)}`);

/** Invocations by id: their call, their two halves. */
const joined = new Map();

function join(id, half) {
    const call = { ...joined.get(id), ...half };
    joined.set(id, call);
    if (call.request && call.record) void replay(id, call);
}

function answer(id, { answer: { hex } }) {
    const { number, bytes } = contentOf(hex);
    send(number, replaced(bytes, 1, id));
}

async function replay(id, { record, request, response }) {
    const own = ['x-ms-invocation-id', 'connection', 'host', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-for'];
    const { headers } = request;
    const found = Object.fromEntries(Object.entries(headers).filter(([name]) => !own.includes(name)));
    const expected = Object.fromEntries(Object.entries(record.headers).map(([name, value]) => [name, String(value)]));
    const sort = (object) => JSON.stringify(Object.entries(object).sort());
    if (sort(found) !== sort(expected)) differs(`headers of ${record.function}`, found, expected);
    const said = [headers.host, headers['x-forwarded-host'], headers['x-forwarded-proto'], headers['x-forwarded-for'], headers['x-ms-invocation-id']];
    const right = ['app.test:7071', 'app.test:7071', 'http', '192.0.2.7', id];
    if (String(said) !== String(right)) differs(`what the host says of ${record.function}`, said, right);
    if (request.method !== record.method || request.url !== record.path) differs('request', [request.method, request.url], [record.method, record.path]);
    const body = [];
    for await (const chunk of request) body.push(chunk);
    const hex = Buffer.concat(body).toString('hex');
    if (hex !== (record.body ?? '')) differs(`body of ${record.function}`, hex, record.body);

    const { status, headers: answered, chunks, ended } = record.response;
    // From here on at the times of the recording; what is `after: -1` came before the head of the response.
    if (!record.onCancel) setTimeout(() => answer(id, record), Math.max(record.answer.after, 0));
    response.sendDate = false;
    const kept = [];
    for (let at = 0; at < answered.length; at += 2) if (answered[at] !== 'Transfer-Encoding') kept.push(answered[at], answered[at + 1]);
    if (record.answer.after < 0) await new Promise((resolve) => setTimeout(resolve, 2));
    response.writeHead(status, kept);
    let now = 0;
    const until = (at) => new Promise((resolve) => setTimeout(resolve, Math.max(at - now, 0), (now = at)));
    for (const chunk of chunks) {
        await until(chunk.after);
        response.write(Buffer.from(chunk.hex, 'hex'));
    }
    await until(ended);
    response.end();
}

const server = http.createServer((request, response) => join(request.headers['x-ms-invocation-id'], { request, response }));

function invoke(body) {
    const [id, functionId] = [String(body[1][0]), String(body[2][0])];
    const at = calls.findIndex((call) => call.functionId === functionId && !call.isTaken);
    if (at < 0) throw new Error(`no recording of ${functionId} is left`);
    const record = calls[at];
    record.isTaken = true;
    const metadata = {};
    for (const entry of body[4]) {
        const [name, value] = [parse(entry)[1][0], parse(parse(entry)[2][0])];
        metadata[name] = value[1][0] === undefined ? undefined : String(value[1][0]);
    }
    // The real worker refuses numbers, and binds parameters of the route from here.
    for (const [name, value] of Object.entries(record.metadata)) if (metadata[name] !== value) differs(`metadata ${name}`, metadata[name], value);
    const [data] = body[3].map((binding) => parse(parse(binding)[2][0]));
    if (!data[5][0] || data[5][0].length > 0) differs(`trigger of ${record.function}`, data, 'an empty request');
    join(id, { record });
}

const loads = new Map(recorded('function_load_response').map((content) => [String(parse(content.bytes)[1][0]), content]));

run(async (content, body) => {
    switch (content) {
        case 17: {
            server.listen(0, '127.0.0.1');
            await once(server, 'listening');
            const [init] = recorded('worker_init_response');
            const capabilities = parse(init.bytes)[2].map((entry) => {
                const [name, value] = [String(parse(entry)[1][0]), String(parse(entry)[2][0])];
                return [2, message([1, name], [2, name === 'HttpUri' ? `http://localhost:${server.address().port}/` : value])];
            });
            const rest = Object.entries(parse(init.bytes)).filter(([field]) => field !== '2');
            send(init.number, message(...capabilities, ...rest.flatMap(([field, values]) => values.map((value) => [Number(field), value]))));
            break;
        }
        case 29:
            repeat(recorded('function_metadata_response')[0]);
            break;
        case 8:
            repeat(loads.get(String(body[1][0])));
            break;
        case 4:
            invoke(body);
            break;
        case 21: {
            const id = String(body[2][0]);
            const call = joined.get(id);
            if (call?.record?.onCancel) answer(id, call.record);
            break;
        }
        case 14:
            process.exit(0);
            break;
        case 12:
            break;
        default:
            differs('message', content, 'one that the worker announced');
    }
});
