// The checks of a program that uses an SDK of Cosmos DB: it makes all of them in one run and prints a line of JSON for each.

import assert from 'node:assert/strict';
import { once } from 'node:events';

/** Reads the program to its end, with its output piped; gives what asserts that a check was made and passed, by its name. `log` is what the
 *  service printed. */
export async function checks(child, log) {
  const texts = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) child[name].on('data', (chunk) => { texts[name] += chunk; });
  await once(child, 'close');
  const lines = texts.stdout.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
  const results = new Map(lines.map(({ check, error }) => [check, error]));
  return (check) => {
    assert.ok(results.has(check), `the check was not made\n${texts.stderr.slice(-3000)}\n${log()}`);
    assert.equal(results.get(check), undefined);
  };
}
