'use strict';

// Protobuf by field numbers, as far as scripted workers need it.

function varint(value) {
    const bytes = [];
    for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
        if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
        bytes.push(Number(rest & 127n) | 128);
    }
}

/** A message from [number, value]: text and buffers are length-delimited, numbers are varints. */
function message(...fields) {
    return Buffer.concat(fields.map(([number, value]) => {
        if (typeof value === 'number') return Buffer.concat([varint(number << 3), varint(value)]);
        const bytes = Buffer.from(value);
        return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
    }));
}

/** The fields of a message: number -> list of values. */
function parse(bytes) {
    const fields = new Proxy({}, { get: (target, number) => target[number] ?? [] });
    let at = 0;
    const next = () => {
        let value = 0n;
        for (let shift = 0n; ; shift += 7n) {
            const byte = bytes[at++];
            value |= BigInt(byte & 127) << shift;
            if (byte < 128) return Number(value);
        }
    };
    while (at < bytes.length) {
        const tag = next();
        let value;
        if ((tag & 7) === 0) value = next();
        else if ((tag & 7) === 2) {
            const length = next();
            value = bytes.subarray(at, at += length);
        } else throw new Error(`wire type ${tag & 7}`);
        fields[tag >> 3] = [...fields[tag >> 3], value];
    }
    return fields;
}

module.exports = { message, parse };
