// The end-to-end suite of the vendor's Python worker (its repository's folder `tests`), with the built binary as the host.

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const VENV = path.join(here, '../../target/official-workers/python');
const PYTHON = path.join(VENV, 'bin/python');
const REQUIREMENTS = path.join(here, 'python-requirements.txt');

/** The files of the suite that need no cloud service. */
const FILES = [
  'endtoend/test_http_functions.py',
  'endtoend/test_third_party_http_functions.py',
  'endtoend/test_blueprint_functions.py',
  'endtoend/test_generic_functions.py',
  'endtoend/test_retry_policy_functions.py',
  'endtoend/test_timer_functions.py',
  'endtoend/test_warmup_functions.py',
  'endtoend/test_file_name_functions.py',
  'endtoend/test_worker_process_count_functions.py',
  'endtoend/test_threadpool_thread_count_functions.py',
  'unittests/test_http_functions.py',
  'unittests/test_http_functions_v2.py',
  'unittests/test_broken_functions.py',
];

/** Tests that fail on purpose or for a reason outside of the host: name and reason. */
const NOT_LOADED = 'deliberately different: an app that does not load is answered 503 with the reason, and not 404';
const TABLES = 'not yet: table bindings';
const FAILURE_TEXT = 'deliberately different: the line of a failed invocation names function, type and source of the exception';
const EXPECTED = {
  'TestHttpFunctions::test_unhandled_error': FAILURE_TEXT,
  'TestHttpFunctionsStein::test_unhandled_error': FAILURE_TEXT,
  'TestMultipleFunctionRegisters::test_function_in_blueprint_only': NOT_LOADED,
  'TestOnlyBlueprint::test_only_blueprint': NOT_LOADED,
  'TestGenericFunctions::test_return_processed_last': TABLES,
  'TestGenericFunctions::test_return_not_processed_last': TABLES,
  'TestGenericFunctions::test_return_types': TABLES,
  'TestGenericFunctionsStein::test_return_processed_last': TABLES,
  'TestGenericFunctionsStein::test_return_not_processed_last': TABLES,
  'TestGenericFunctionsStein::test_return_types': TABLES,
  'TestCommonLibsHttpFunctions::test_requests': 'the function calls a web site',
  'TestCommonLibsHttpFunctionsStein::test_requests': 'the function calls a web site',
};

function install() {
  const wanted = readFileSync(REQUIREMENTS, 'utf8');
  const noted = path.join(VENV, 'installed.txt');
  if (existsSync(noted) && readFileSync(noted, 'utf8') === wanted) return;
  console.log('  installing the Python packages of the suite');
  const pip = [PYTHON, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', REQUIREMENTS];
  for (const line of [['python3', '-m', 'venv', VENV], pip]) {
    const done = spawnSync(line[0], line.slice(1), { stdio: ['ignore', 'ignore', 'inherit'] });
    if (done.status !== 0) throw new Error(`${line.join(' ')} failed`);
  }
  return writeFile(noted, wanted);
}

/** Names of the tests that failed, from pytest's summary, and its last line. */
function readReport(text) {
  const failed = [...text.matchAll(/^(?:FAILED|ERROR) [^:\s]+::(\S+)/gm)].map(([, name]) => name);
  return { failed, last: text.trimEnd().split('\n').at(-1) };
}

/** Runs every file of the suite; returns whether no test failed except those of `EXPECTED`. */
export async function runPython({ workers, pythonSuite }) {
  if (!pythonSuite) {
    console.log('  not run: --python-suite FOLDER names the source of the Python worker, which holds the suite');
    return true;
  }
  await install();
  let isGood = true;
  for (const file of FILES) {
    const run = spawnSync(PYTHON, ['-m', 'pytest', '-q', '--no-header', '-p', 'no:cacheprovider', `tests/${file}`], {
      cwd: pythonSuite,
      encoding: 'utf8',
      maxBuffer: 2 ** 28,
      env: {
        ...process.env,
        CORE_TOOLS_EXE_PATH: path.join(here, 'func.cjs'),
        PYAZURE_WORKER_DIR: path.join(workers, 'python'),
        PYTHONPATH: pythonSuite,
        languageWorkers__python__defaultExecutablePath: PYTHON,
      },
    });
    const { failed, last } = readReport(run.stdout);
    const unexpected = failed.filter((name) => !EXPECTED[name]);
    // 0: all passed, 1: some failed. Anything else means that the tests did not run.
    const isRun = run.status === 0 || run.status === 1;
    isGood &&= isRun && unexpected.length === 0;
    console.log(`  ${file}: ${last}`);
    for (const name of failed) console.log(`    ${EXPECTED[name] ? `expected (${EXPECTED[name]})` : 'FAILED'}: ${name}`);
    if (!isRun) console.log(run.stdout + run.stderr);
  }
  return isGood;
}
