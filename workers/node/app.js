'use strict';

// Loading an app: its package.json, its entry points, and errors that say what to do.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { pathToFileURL, fileURLToPath } = require('node:url');
const { systemError, toError } = require('./errors');
const { findFiles, isPattern } = require('./glob');

function readPackageJson(directory) {
    const file = path.join(directory, 'package.json');
    let text;
    try {
        text = fs.readFileSync(file, 'utf8');
    } catch (error) {
        if (error.code === 'ENOENT') return undefined;
        throw systemError(`Cannot read ${file}: ${error.message}`);
    }
    try {
        const content = JSON.parse(text.replace(/^\uFEFF/, ''));
        if (typeof content === 'object' && content !== null && !Array.isArray(content)) return content;
    } catch (error) {
        throw systemError(`${file} is not valid JSON: ${error.message}`);
    }
    throw systemError(`${file} is not a JSON object.`);
}

function isModule(file, packageJson) {
    if (file.endsWith('.mjs')) return true;
    if (file.endsWith('.cjs')) return false;
    return packageJson.type === 'module';
}

async function loadFile(file, packageJson) {
    return isModule(file, packageJson) ? import(pathToFileURL(file).href) : require(file);
}

function readPlace(text) {
    const match = /^(.+):(\d+)$/.exec(text.split('\n', 1)[0]);
    if (!match) return undefined;
    return `${match[1].startsWith('file:') ? fileURLToPath(match[1]) : match[1]}:${match[2]}`;
}

/** `file:line` of a syntax error. Node.js puts it in front of the stack, except for modules. */
function placeOf(error, file) {
    if (error.name !== 'SyntaxError') return undefined;
    const place = readPlace(String(error.stack ?? ''));
    if (place) return place;
    const checked = spawnSync(process.execPath, ['--check', file], { encoding: 'utf8', timeout: 10_000 });
    return readPlace(checked.stderr ?? '');
}

function missingPackage(error) {
    if (error.code !== 'MODULE_NOT_FOUND' && error.code !== 'ERR_MODULE_NOT_FOUND') return undefined;
    const match = /Cannot find (?:module|package) '([^']+)'/.exec(error.message);
    if (!match || match[1].startsWith('.') || path.isAbsolute(match[1])) return undefined;
    const parts = match[1].split('/');
    return match[1].startsWith('@') ? parts.slice(0, 2).join('/') : parts[0];
}

/** The frames of a stack that belong to the app, without those of the Node.js loader and of this worker. */
function ownStack(error) {
    const lines = String(error.stack ?? '').split('\n');
    return lines.filter((line) => !line.includes('node:internal/') && !line.includes(__dirname + path.sep)).join('\n').trimEnd();
}

/** An error of an entry point, with what happened first and what to do at its end. */
function explain(thrown, file, directory) {
    const error = toError(thrown);
    const shown = path.relative(directory, file) || file;
    const missing = missingPackage(error);
    const place = placeOf(error, file);
    let message = `Cannot load ${shown}: ${error.message}`;
    if (missing) {
        message = `Cannot load ${shown}: the package '${missing}' is not installed. Run 'npm install' in ${directory}`;
        const { dependencies = {}, devDependencies = {} } = readPackageJson(directory) ?? {};
        if (!(missing in dependencies) && !(missing in devDependencies)) {
            message = `Cannot load ${shown}: the package '${missing}' is not installed. Run 'npm install ${missing}' in ${directory}`;
        }
    } else if (place) {
        message = `Cannot load ${shown}: syntax error at ${place}: ${error.message}`;
    }
    const explained = new Error(message);
    explained.name = error.name;
    // If a package is missing, the message already says what to do.
    explained.stack = missing ? message : ownStack(error);
    explained.cause = missing ? undefined : error.cause;
    explained.isAzureFunctionsSystemError = error.isAzureFunctionsSystemError;
    return explained;
}

/** Loads the entry points that `main` of the app's package.json names. */
async function loadApp(app, directory) {
    const packageJson = readPackageJson(directory);
    const main = packageJson?.main;
    if (typeof main !== 'string' || main === '') return { packageJson };
    const files = findFiles(directory, main);
    if (files.length === 0) {
        const where = `"main" of ${path.join(directory, 'package.json')} is "${main}"`;
        if (!isPattern(main)) throw systemError(`${where}, but there is no such file. Correct it, or build the app if that file is made by a build`);
        throw systemError(`${where}, which matches no file. Correct the pattern, or build the app if these files are made by a build`);
    }
    for (const file of files) {
        app.entryPoint = file;
        try {
            await loadFile(file, packageJson);
        } catch (thrown) {
            throw explain(thrown, file, directory);
        } finally {
            app.entryPoint = undefined;
        }
    }
    return { packageJson, files };
}

/** Whether the app has functions of the older model, which are described by files. */
function hasFunctionJson(directory) {
    const entries = fs.readdirSync(directory, { withFileTypes: true });
    return entries.some((entry) => entry.isDirectory() && fs.existsSync(path.join(directory, entry.name, 'function.json')));
}

/** Why an app that loaded has no functions. */
function explainNoFunctions(directory, loaded) {
    if (hasFunctionJson(directory)) {
        return `${directory} describes its functions by function.json files (programming model 3), which this worker cannot run yet. Move to @azure/functions 4 (app.http(...)), or set languageWorkers__node__workerDirectory to the folder of the official worker`;
    }
    if (!loaded.packageJson) {
        return `there is no package.json in ${directory}. Create one with "main": "src/functions/*.js" and run 'npm install @azure/functions'`;
    }
    if (!loaded.files) {
        return `package.json in ${directory} has no "main", so no file is loaded. Add "main": "src/functions/*.js"`;
    }
    const names = loaded.files.map((file) => path.relative(directory, file)).join(', ');
    return `no function is registered. ${names} was loaded, but did not call app.http(...), app.timer(...) or the like; register functions there, or correct "main" in package.json`;
}

module.exports = { loadApp, explainNoFunctions };
