// Runs the vendor's language workers, as published, on the built binary. `cargo xtask compat official-workers` starts it; README.md
// beside this file says where the workers come from.
//
//   node run.mjs --workers FOLDER [--python-suite FOLDER] [--only node|python|java] [--vectors FOLDER]

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { runJava } from './java.mjs';
import { runPython } from './python.mjs';


const here = path.dirname(fileURLToPath(import.meta.url));

/** The recorded HTTP calls of the vendor's host, with its own Node.js worker: responses and start-up errors. */
function runNode({ workers, vectors }) {
  const flags = ['--workers', workers, ...(vectors ? ['--vectors', vectors] : [])];
  return spawnSync('node', [path.join(here, '../functions-host/replay.mjs'), ...flags], { stdio: 'inherit' }).status === 0;
}

const LANGUAGES = { node: runNode, python: runPython, java: runJava };

async function main() {
  const { values } = parseArgs({
    options: { workers: { type: 'string' }, 'python-suite': { type: 'string' }, only: { type: 'string' }, vectors: { type: 'string' } },
  });
  if (!values.workers || !existsSync(values.workers)) {
    console.error('error: --workers FOLDER names the folder with the vendor\'s workers, one folder for each language '
      + '(the folder `workers` of Functions Core Tools); compat/official-workers/README.md says how to get it');
    return 1;
  }
  if (values.only && !LANGUAGES[values.only]) {
    console.error(`error: there is no language ${values.only}; use ${Object.keys(LANGUAGES).join(', ')}`);
    return 1;
  }
  const options = { workers: path.resolve(values.workers), vectors: values.vectors && path.resolve(values.vectors) };
  if (values['python-suite']) options.pythonSuite = path.resolve(values['python-suite']);
  let isGood = true;
  for (const [language, run] of Object.entries(LANGUAGES)) {
    if (values.only && values.only !== language) continue;
    if (!existsSync(path.join(options.workers, language, 'worker.config.json'))) {
      console.log(`${language}: not run: there is no ${language}/worker.config.json in ${options.workers}`);
      isGood &&= values.only !== language;
      continue;
    }
    console.log(`${language}:`);
    isGood = await run(options) && isGood;
  }
  return isGood ? 0 : 1;
}

process.exitCode = await main();
