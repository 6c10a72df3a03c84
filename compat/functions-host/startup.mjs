// The 26 apps with an error: which of their addresses respond, the host status, and which functions it names.

import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { Chappe } from '../harness.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const IN_ERROR = /The '(.+?)' function is in error/;

async function makeApp({ 'host.json': host, 'package.json': packageJson, source }) {
  const app = await mkdtemp(path.join(tmpdir(), 'functions-host-'));
  await mkdir(path.join(app, 'src'));
  if (host !== null) await writeFile(path.join(app, 'host.json'), host);
  await writeFile(path.join(app, 'package.json'), JSON.stringify(packageJson));
  await writeFile(path.join(app, 'local.settings.json'), '{ "Values": { "FUNCTIONS_WORKER_RUNTIME": "node" } }');
  for (const [name, text] of Object.entries(source)) await writeFile(path.join(app, 'src', name), text);
  await symlink(path.join(here, '../functions-worker/node_modules'), path.join(app, 'node_modules'));
  return app;
}

/** The behaviour of a recorded app, in the form of {@link seenOf}. */
function recordedOf({ 'GET /api/good': good, routes, status, log }) {
  const named = log.map(([, , , text]) => text.match(IN_ERROR)?.[1]).filter(Boolean);
  const statuses = Object.entries(routes).map(([route, text]) => [route, Number(text)]);
  return { good, ...Object.fromEntries(statuses), state: status?.state ?? null, inError: [...new Set(named)].sort() };
}

/** The same for the built binary. Addresses without a response have the status 0. */
async function seenOf(app, routes) {
  let chappe;
  try {
    chappe = await Chappe.start({ app });
  } catch {
    const none = Object.fromEntries(['good', ...routes].map((route) => [route, 0]));
    return { ...none, state: null, inError: [] };
  }
  try {
    const { functions } = chappe.urls;
    const seen = {};
    for (const route of ['good', ...routes]) seen[route] = (await fetch(`${functions}/api/${route}`)).status;
    const status = await (await fetch(`${functions}/admin/host/status`)).json();
    // A missing setting is logged once for all functions that need it; the status names each function.
    const lines = [...(await chappe.functionLog()).map(({ text }) => text), ...(status.errors ?? [])];
    const named = lines.map((text) => text.match(IN_ERROR)?.[1]).filter(Boolean);
    return { ...seen, state: status.state, inError: [...new Set(named)].sort() };
  } finally {
    await chappe.stop();
  }
}

/** The cases, each with its differences. */
export async function replayStartup(vectors, isChosen) {
  const file = path.join(vectors, 'startup.jsonl');
  if (!existsSync(file)) throw new Error(`${file} is missing`);
  const cases = readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  const found = [];
  for (const each of cases.filter(({ app }) => isChosen({ app: 'startup', case: app }))) {
    const app = await makeApp(each);
    try {
      const recorded = recordedOf(each);
      const seen = await seenOf(app, Object.keys(each.routes));
      const differences = Object.keys(recorded)
        .filter((part) => JSON.stringify(recorded[part]) !== JSON.stringify(seen[part]))
        .map((part) => `${part} ${JSON.stringify(recorded[part])}, ours ${JSON.stringify(seen[part])}`);
      found.push({ app: 'startup', case: each.app, differences });
    } finally {
      await rm(app, { recursive: true, force: true });
    }
  }
  return found;
}
