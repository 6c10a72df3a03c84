'use strict';

// A FunctionRpc worker that behaves like the Python worker where that matters: it knows neither terminate nor cancel, and dies of
// what it does not know.

const { message, parse, run, send, SUCCESS } = require('../rpc');

const CAPABILITIES = (process.env.SCRIPTED_CAPABILITIES ?? 'RawHttpBodyBytes TypedDataCollection').split(' ').filter(Boolean);
const RAW_BINDING = JSON.stringify({ name: 'req', type: 'httpTrigger', direction: 'IN', authLevel: 'ANONYMOUS' });

function invoke(request) {
    const id = String(request[1][0]);
    const input = parse(parse(request[3][0])[2][0]);
    switch (String(request[2][0])) {
        case 'echo': {
            const log = [[1, id], [2, 'root'], [3, 2]];
            send(2, message(...log, [4, 'one']));
            send(2, message(...log, [4, 'two']));
            const [number] = Object.keys(input);
            send(5, message([1, id], [3, SUCCESS], [4, message([Number(number), input[number][0]])]));
            return;
        }
        case 'http': {
            // An HTTP answer that tells the request's fields, and which kind of value its body is.
            const http = parse(input[5][0]);
            const fields = Object.keys(http).join(',');
            const body = parse(http[4][0]);
            const [kind] = Object.keys(body);
            const headers = [['x-fields', fields], ['x-body-kind', kind]].map((pair) => [3, message([1, pair[0]], [2, pair[1]])]);
            const answer = message([12, '201'], ...headers, [4, message([3, body[kind][0]])]);
            send(5, message([1, id], [3, SUCCESS], [4, message([5, answer])]));
            return;
        }
        case 'fails':
            send(5, message([1, id], [3, message([2, message([2, 'ValueError: bad'], [1, 'line 1'])])]));
            return;
        case 'dies':
            process.exit(9);
        case 'waits':
            send(2, message([1, id], [2, 'root'], [3, 2], [4, 'waiting']));
    }
}

run((content, body) => {
    switch (content) {
        case 17:
            send(16, message(...CAPABILITIES.map((name) => [2, message([1, name], [2, 'true'])]), [3, SUCCESS]));
            break;
        case 29: {
            const functions = ['echo', 'http', 'fails', 'dies', 'waits'].map((name) => [1, message([4, name], [13, name], [10, RAW_BINDING], [2, 'f.py'])]);
            send(30, message(...functions, [2, SUCCESS]));
            break;
        }
        case 8:
            send(9, message([1, body[1][0]], [2, SUCCESS]));
            break;
        case 4:
            invoke(body);
            break;
        case 21:
            if (CAPABILITIES.includes('HandlesInvocationCancelMessage')) {
                console.log(`cancelled ${body[2][0]}`);
                break;
            }
            // falls through
        default:
            console.error(`unknown content ${content}`);
            process.exit(5);
    }
});
