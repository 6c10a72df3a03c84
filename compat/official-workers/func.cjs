#!/usr/bin/env node
'use strict';

// Replaces Functions Core Tools in the suite of the Python worker, which starts `func host start --verbose --port N` with the app's folder
// in AzureWebJobsScriptRoot: calls `chappe start` with the equivalent flags.

const { spawn } = require('node:child_process');

const given = process.argv.slice(2);
const port = given[given.indexOf('--port') + 1];
const listen = { functions: port, gateway: 0, realtime: 0, documents: 0 };
const flags = Object.entries(listen).flatMap(([name, number]) => ['--set', `listen.${name}=127.0.0.1:${number}`]);
const child = spawn(process.env.CHAPPE_BIN, ['start', process.env.AzureWebJobsScriptRoot, '--ephemeral', ...flags], { stdio: 'inherit' });
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => process.exit(code ?? 1));
