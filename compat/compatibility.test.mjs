// The compatibility pages name tests; a row that names a missing test would prove nothing.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
/** The pages, and the least number of proofs that parsing each must find: a parser that finds none would report no error. */
const PAGES = {
  'docs/compatibility.md': 80,
  'docs/compatibility/app-servers.md': 60,
  'docs/compatibility/documents.md': 80,
  'docs/compatibility/functions.md': 80,
  'docs/compatibility/ocelot.md': 25,
  'docs/compatibility/upstreams.md': 25,
};

const read = (file) => (existsSync(path.join(root, file)) ? readFileSync(path.join(root, file), 'utf8') : '');

/** Names of the tests in a JavaScript file. A name from a template becomes a pattern. */
function scriptTests(file) {
  const names = [...read(file).matchAll(/\btest\((['"`])(.+?)\1/g)].map(([, quote, name]) => ({ quote, name }));
  assert.ok(names.length > 0, `${file} has tests`);
  const quoted = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  return names.map(({ quote, name }) => {
    const parts = quote === '`' ? name.split(/\$\{\w+\}/) : [name];
    return new RegExp(`^${parts.map(quoted).join('[\\w-]+')}(?:, |$)`);
  });
}

/** Which file contains a proof's tests: `signalr.test.mjs`, `cosmos`, `realtime/it/rest`, `identity/src/token`. */
function place(at) {
  if (at === 'cosmos') return { script: 'compat/documents/documents.test.mjs' };
  if (at.endsWith('.mjs')) return { script: `compat/${at}` };
  if (at.endsWith('.js')) return { script: `compat/functions-worker/${at}` };
  const [, crate, kind, module] = at.match(/^([\w-]+)\/(it|src)\/(.+)$/) ?? [];
  assert.ok(module, `'${at}' is no place of tests`);
  if (kind === 'it') return { rust: read(`crates/${crate}/tests/it/${module}.rs`) };
  const file = `crates/${crate}/src/${module}`;
  return { rust: read(`${file}.rs`) + read(`${file}/tests.rs`) };
}

/** The names in a proof that no test has. Names of scripts may contain commas, so they are removed one by one. */
function missing(at, names) {
  const { script, rust } = place(at);
  if (rust !== undefined) {
    return names.split(', ').filter((name) => !new RegExp(`\\bfn ${name}\\(`).test(rust));
  }
  const known = scriptTests(script);
  for (let rest = names; rest !== '';) {
    const lengths = known.map((pattern) => rest.match(pattern)?.[0].length ?? 0);
    const longest = Math.max(...lengths);
    if (longest === 0) return [rest];
    rest = rest.slice(longest);
  }
  return [];
}

for (const [page, least] of Object.entries(PAGES)) {
  test(`every test that ${page} names exists`, () => {
    const rows = read(page).split('\n').filter((line) => line.startsWith('| '));
    const wrong = [];
    let named = 0;
    for (const row of rows) {
      const cells = row.replace(/^\| | ?\|$/g, '').split(/ ?(?<!\\)\| ?/);
      const proofs = cells.at(-1).replace(/ \([^)]*\)/g, '').split('; ');
      for (const [, at, names] of proofs.map((proof) => proof.match(/^([\w/-]+(?:\.test\.m?js)?): (.+)$/)).filter(Boolean)) {
        named += 1;
        wrong.push(...missing(at, names.trim()).map((name) => `${at}: ${name}`));
      }
    }
    assert.deepEqual(wrong, []);
    assert.ok(named > least, `only ${named} proofs were found`);
  });
}
