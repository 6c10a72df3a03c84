'use strict';

// Files that match a pattern, such as `main` of a package.json: `*`, `?`, `[…]`, `{a,b}` and `**`.

const fs = require('node:fs');
const path = require('node:path');

function isPattern(text) {
    return /[*?[\]{}]/.test(text);
}

/** `a/{b,c}` as `a/b` and `a/c`. */
function expandBraces(pattern) {
    const match = /\{([^{}]*)\}/.exec(pattern);
    if (!match || !match[1].includes(',')) return [pattern];
    const [before, after] = [pattern.slice(0, match.index), pattern.slice(match.index + match[0].length)];
    return match[1].split(',').flatMap((one) => expandBraces(before + one + after));
}

function toRegExp(segment) {
    let source = '';
    for (let at = 0; at < segment.length; at += 1) {
        const char = segment[at];
        const end = char === '[' ? segment.indexOf(']', at + 2) : -1;
        if (char === '*') source += '[^/]*';
        else if (char === '?') source += '[^/]';
        else if (end > 0) {
            const set = segment.slice(at + 1, end).replace(/^!/, '^').replace(/\\/g, '\\\\');
            source += `[${set}]`;
            at = end;
        } else source += char.replace(/[.+^${}()|[\]\\*?]/g, '\\$&');
    }
    return new RegExp(`^${source}$`);
}

function list(directory) {
    try {
        return fs.readdirSync(directory, { withFileTypes: true });
    } catch {
        return [];
    }
}

function isDirectory(directory, entry) {
    if (!entry.isSymbolicLink()) return entry.isDirectory();
    try {
        return fs.statSync(path.join(directory, entry.name)).isDirectory();
    } catch {
        return false;
    }
}

function walk(directory, segments, found) {
    const [segment, ...rest] = segments;
    if (segment === undefined) return;
    if (segment === '**') {
        walk(directory, rest.length > 0 ? rest : ['*'], found);
        for (const entry of list(directory)) {
            // Packages and hidden folders are not part of the app. Links are not followed, as they may form a cycle.
            if (entry.isDirectory() && entry.name !== 'node_modules' && !entry.name.startsWith('.')) {
                walk(path.join(directory, entry.name), segments, found);
            }
        }
        return;
    }
    if (segment === '.' || segment === '..' || segment === '') {
        walk(path.join(directory, segment), rest, found);
        return;
    }
    const regExp = toRegExp(segment);
    for (const entry of list(directory)) {
        if (!regExp.test(entry.name) || (entry.name.startsWith('.') && !segment.startsWith('.'))) continue;
        const file = path.join(directory, entry.name);
        if (rest.length > 0) {
            if (isDirectory(directory, entry)) walk(file, rest, found);
        } else if (!isDirectory(directory, entry)) found.add(file);
    }
}

/** The files, sorted, so that functions are always registered in the same order. */
function findFiles(directory, pattern) {
    const found = new Set();
    for (const one of expandBraces(pattern.replace(/\\/g, '/'))) {
        const file = path.resolve(directory, one);
        const stat = fs.statSync(file, { throwIfNoEntry: false });
        if (stat?.isFile()) found.add(file);
        // A folder stands for the scripts in it.
        else if (stat?.isDirectory()) walk(file, ['**', '*.js'], found);
        else if (isPattern(one)) walk(directory, one.split('/'), found);
    }
    return [...found].filter((file) => !file.endsWith('.map')).sort();
}

module.exports = { findFiles, isPattern };
