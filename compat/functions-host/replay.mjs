// Replays the recordings of the vendor's functions host against the built binary, with the same apps. `cargo xtask compat
// functions-host` starts it; README.md beside this file says what is compared.
//
//   node replay.mjs [--vectors FOLDER] [--app NAME] [--case TEXT] [--all] [--workers FOLDER]
//
// --app and --case choose cases, --all prints every difference and not only the first ones. --workers names a folder with the
// vendor's workers: the app runs on its Node.js worker, and only responses are compared.

import { existsSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { Chappe } from '../harness.mjs';
import { recordedOf, responseDifferences, sentDifferences, sentOf } from './compare.mjs';
import { checkPage, judge, readExpectations } from './expected.mjs';
import { send } from './raw.mjs';
import { replayStartup } from './startup.mjs';
import { replayTimers } from './timers.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const PRINTED_MAX = 60;

/** The apps of the recordings, and the settings that the recording added to their files (README of the recordings, "Set-up"). */
const APPS = {
  http: { folder: 'http', env: { ROUTE_SETTING: 'fromsetting', 'AzureWebJobs.disabled1.Disabled': 'true' } },
  root: { folder: 'root' },
  csharp: { folder: 'csharp', dotnet: 'csharp/worker.cjs' },
  'csharp-aspnet': { folder: 'csharp-aspnet', dotnet: 'csharp/aspnet.cjs' },
  'root+cors': { folder: 'root', set: ['functions.cors_origins=["https://ok.example"]', 'functions.cors_credentials=true'] },
};

/** The recorded requests come from a platform's front end, which sets the headers for host and caller itself. */
const BEHIND_A_FRONT_END = [
  'functions.enable_auth=true',
  'guard.trusted_proxies=["127.0.0.1", "::1"]',
  'guard.hosts=["some.host", "example.com", "front.example", "skip.example", "other.example"]',
];

/** Key path and value, as in the recording. */
const KEYS = [
  ['/admin/host/functionkeys/default', 'test-host-key'],
  ['/admin/host/systemkeys/sys1', 'test-system-key'],
  ['/admin/functions/a_function/keys/default', 'test-fn-key'],
  ['/admin/functions/plain/keys/default', 'test-fn2-key'],
  ['/admin/functions/a_default/keys/default', 'test-fn2-key'],
];
const MASTER_KEY = 'test-master-key';

/** A copy of a recorded app with the library of its language, in a folder of its own. */
async function copyApp(vectors, { folder, dotnet }) {
  const app = await mkdtemp(path.join(tmpdir(), 'functions-host-'));
  await cp(path.join(vectors, 'apps', folder), app, { recursive: true });
  const language = dotnet ? 'dotnet-isolated' : 'node';
  await writeFile(path.join(app, 'local.settings.json'), JSON.stringify({ Values: { FUNCTIONS_WORKER_RUNTIME: language } }));
  if (!dotnet) {
    await symlink(path.join(here, '../functions-worker/node_modules'), path.join(app, 'node_modules'));
    return app;
  }
  const description = { language, defaultExecutablePath: 'node', defaultWorkerPath: path.join(here, dotnet), workerIndexing: 'true' };
  await writeFile(path.join(app, 'worker.config.json'), JSON.stringify({ description }));
  return app;
}

async function setKeys(chappe, names) {
  const { masterKey } = JSON.parse(await readFile(path.join(chappe.dataDir, 'data/function-keys.json'), 'utf8'));
  const put = async (target, value, key) => {
    const headers = { 'x-functions-key': key, 'content-type': 'application/json' };
    const answer = await fetch(`${chappe.urls.functions}${target}`, { method: 'PUT', headers, body: JSON.stringify({ value }) });
    if (!answer.ok) throw new Error(`PUT ${target} was answered with ${answer.status}`);
  };
  await put('/admin/host/systemkeys/_master', MASTER_KEY, masterKey);
  for (const [target, value] of KEYS) {
    const [, name] = target.match(/^\/admin\/functions\/(\w+)\//) ?? [];
    if (!name || names.includes(name)) await put(target, value, MASTER_KEY);
  }
}

/** The names of the app's functions, when it runs. */
async function functionNames(chappe) {
  const { masterKey } = JSON.parse(await readFile(path.join(chappe.dataDir, 'data/function-keys.json'), 'utf8'));
  const answer = await fetch(`${chappe.urls.functions}/admin/functions`, { headers: { 'x-functions-key': masterKey } });
  if (!answer.ok) throw new Error(`the app does not run: ${await answer.text()}\n${chappe.log}`);
  return (await answer.json()).map(({ name }) => name);
}

/** A copy of an app, with what its worker needs; a Node.js worker records what it receives, and `lines` returns the records so far. */
async function recordedApp(vectors, facts, workers) {
  const app = await copyApp(vectors, facts);
  const record = path.join(app, '.record');
  await writeFile(record, '');
  const remove = () => rm(app, { recursive: true, force: true });
  if (workers) return { app, environment: { languageWorkers__workersDirectory: workers }, lines: () => [], remove };
  const environment = facts.dotnet
    ? { FUNCTIONS_HOST_CSHARP: path.join(vectors, '../csharp-worker') }
    : { FUNCTIONS_HOST_RECORD: record, languageWorkers__node__arguments: `--require ${path.join(here, 'recorder.cjs')}` };
  return {
    app,
    environment,
    lines: () => readFileSync(record, 'utf8').trimEnd().split('\n').filter(Boolean).map((line) => JSON.parse(line)),
    remove,
  };
}

/** Sends the cases of one app and yields each with its differences. */
async function replayApp(vectors, name, cases, workers) {
  const { env = {}, set = [] } = APPS[name];
  const { app, environment, lines, remove } = await recordedApp(vectors, APPS[name], workers);
  let chappe;
  try {
    chappe = await Chappe.start({ app, settings: [...BEHIND_A_FRONT_END, ...set], env: { ...env, ...environment } });
    await setKeys(chappe, await functionNames(chappe));
    const port = Number(new URL(chappe.urls.functions).port);
    const found = [];
    let seen = 0;
    for (const each of cases) {
      const response = await send(port, each.request);
      const all = lines();
      const sent = all.slice(seen).filter(({ inputs }) => inputs[0].data.http).map(sentOf);
      seen = all.length;
      const differences = responseDifferences(each.response, response);
      // Only for the app `http`, the recording contains what its worker received.
      if (name === 'http' && !workers) differences.push(...sentDifferences(each.worker && recordedOf(each.worker), sent.at(-1)));
      found.push({ ...each, differences });
    }
    return found;
  } finally {
    await chappe?.stop();
    await remove();
  }
}

async function main() {
  const { values } = parseArgs({
    options: {
      vectors: { type: 'string' }, app: { type: 'string' }, case: { type: 'string' }, all: { type: 'boolean' }, workers: { type: 'string' },
    },
  });
  const vectors = path.resolve(values.vectors ?? path.join(here, '../../../shared/vectors/functions-host'));
  const workers = values.workers && path.resolve(values.workers);
  const file = path.join(vectors, 'http.jsonl');
  if (!existsSync(file)) {
    console.error(`error: there are no recordings of the functions host at ${vectors}; name their folder with --vectors FOLDER`);
    return 1;
  }
  const all = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  const isChosen = (each) => (!values.app || each.app === values.app) && (!values.case || each.case.includes(values.case));
  const chosen = all.filter(isChosen);
  const results = [];
  for (const name of Object.keys(APPS)) {
    const cases = chosen.filter((each) => each.app === name);
    if (cases.length === 0 || (workers && APPS[name].dotnet)) continue;
    results.push(...await replayApp(vectors, name, cases, workers));
  }
  results.push(...await replayStartup(vectors, isChosen));
  // Only our own worker records what a timer's worker receives.
  if (!workers) results.push(...await replayTimers(vectors, (folder) => recordedApp(vectors, { folder }), isChosen));
  const expectations = readExpectations();
  const isWhole = !values.app && !values.case && !workers;
  const { lines, counts, isGood } = judge(results, expectations, { isWhole });
  const shown = values.all ? lines : lines.slice(0, PRINTED_MAX);
  for (const line of shown) console.log(line);
  if (shown.length < lines.length) console.log(`... and ${lines.length - shown.length} more (--all shows them)`);
  for (const line of counts) console.log(line);
  const page = isWhole ? checkPage(expectations) : [];
  for (const line of page) console.log(line);
  return isGood && page.length === 0 ? 0 : 1;
}

process.exitCode = await main();
