#!/usr/bin/env node
'use strict';

// Replaces Functions Core Tools in the suite of the Python worker, which starts `func host start --verbose --port N` with the app's folder
// in AzureWebJobsScriptRoot: calls `chappe start` with the equivalent flags, and prints its log as Core Tools do, which the suite reads.

const { spawn } = require('node:child_process');
const { createInterface } = require('node:readline');

const given = process.argv.slice(2);
const port = given[given.indexOf('--port') + 1];
const listen = { functions: port, gateway: 0, realtime: 0, documents: 0 };
const flags = Object.entries(listen).flatMap(([name, number]) => ['--set', `listen.${name}=127.0.0.1:${number}`]);
const child = spawn(process.env.CHAPPE_BIN, ['start', process.env.AzureWebJobsScriptRoot, '--ephemeral', ...flags], { stdio: ['ignore', 'pipe', 'pipe'] });
/** A line of the log, which is JSON if it goes to no terminal, in the form of Core Tools. */
function shown(line) {
  try {
    const { timestamp, message } = JSON.parse(line);
    return `[${timestamp}] ${message}`;
  } catch {
    return line;
  }
}
for (const output of [child.stdout, child.stderr]) createInterface({ input: output }).on('line', (line) => console.log(shown(line)));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => process.exit(code ?? 1));
