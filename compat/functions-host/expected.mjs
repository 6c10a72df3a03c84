// The list of deliberate differences (differences.json), and how a replay evaluates it.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const PAGE = path.join(here, '../../docs/compatibility/functions.md');

/**
 * Each entry: `id`, `state` ("deliberately different" or "not yet"), `what` (what differs, and why), and `cases`: an app and a list of
 * names, or beginnings of names that end with `*`.
 */
export function readExpectations() {
  return JSON.parse(readFileSync(path.join(here, 'differences.json'), 'utf8'));
}

function covers({ cases }, { app, case: name }) {
  return cases.some((group) => group.app === app
    && group.names.some((each) => (each.endsWith('*') ? name.startsWith(each.slice(0, -1)) : each === name)));
}

/** Lines to print, counts by app, and whether there was no unexpected difference. */
export function judge(results, expectations, { isWhole }) {
  const lines = [];
  const counts = new Map();
  const used = new Set();
  let isGood = true;
  for (const each of results) {
    const count = counts.get(each.app) ?? { equal: 0, listed: 0, different: 0 };
    counts.set(each.app, count);
    if (each.differences.length === 0) {
      count.equal += 1;
      continue;
    }
    const entry = expectations.find((one) => covers(one, each));
    if (entry) {
      used.add(entry.id);
      count.listed += 1;
    } else {
      count.different += 1;
      isGood = false;
      lines.push(`${each.app}: ${each.case}`, ...each.differences.map((text) => `    ${text}`));
    }
  }
  for (const { id } of isWhole ? expectations : []) {
    if (used.has(id)) continue;
    lines.push(`differences.json: no case differs by "${id}" any more; remove the entry and its row of docs/compatibility/functions.md`);
    isGood = false;
  }
  const table = [...counts].map(([app, { equal, listed, different }]) => `${app}: ${equal} equal, ${listed} listed, ${different} different`);
  return { lines, counts: table, isGood };
}

/** The rows of the compatibility page that show the list. */
export const rowOf = ({ id, state, what }) => `| ${id} | ${state}: ${what} | \`cargo xtask compat functions-host\` |`;

/** What only the compatibility page or only the list contains. */
export function checkPage(expectations) {
  const rows = readFileSync(PAGE, 'utf8').split('\n').filter((line) => line.endsWith('| `cargo xtask compat functions-host` |'));
  const wanted = expectations.map(rowOf);
  const page = 'docs/compatibility/functions.md';
  return [
    ...wanted.filter((row) => !rows.includes(row)).map((row) => `${page} lacks this row: ${row}`),
    ...rows.filter((row) => !wanted.includes(row)).map((row) => `${page} has a row that differences.json does not: ${row}`),
  ];
}
