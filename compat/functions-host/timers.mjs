// The recorded app with timers: what each timer's worker receives, run by run, with retries and starts by name, and the log lines that say
// why a timer ran or that its retries are exhausted.

import { readFileSync } from 'node:fs';
import path from 'node:path';

import { Chappe } from '../harness.mjs';
import { FIRED, metadataOf, same } from './compare.mjs';

/** Started by name in the recording, with the input `x`, when their first runs were complete. */
const BY_NAME = ['tStartup', 'tFixed', 'tOk2'];
/** Number of runs of these functions at the start, retries included. */
const FIRST_RUNS = { tStartup: 1, tFixed: 3, tOk2: 3, tExpo: 4 };
/** Longer than four runs of the slowest timer; the timer that runs each minute may need twice as long. */
const PATIENCE_MS = 80_000;

const jsonl = (file) => readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));

/** Metadata without the time of the run, and the retry with its exception as present or absent. */
function formOf(data, metadata, retry) {
  const plain = metadataOf(metadata);
  if (FIRED.test(plain.TimerTrigger?.string)) plain.TimerTrigger = { string: 'when it fired' };
  const { retryCount, maxRetryCount, exception } = retry ?? {};
  return { data: JSON.parse(data), metadata: plain, retry: retry ? { retryCount, maxRetryCount, hasException: Boolean(exception) } : null };
}

/** Function -> its recorded runs, in order. */
function recordedRuns(vectors) {
  const runs = new Map();
  for (const { function: name, sent } of jsonl(path.join(vectors, 'timers-worker.jsonl'))) {
    const [{ data }] = sent.inputData;
    // HTTP functions of the app were called with curl's headers; the app `http` has those cases.
    if (!data.json) continue;
    runs.set(name, [...(runs.get(name) ?? []), formOf(data.json, sent.triggerMetadata, sent.retryContext)]);
  }
  return runs;
}

/** The recorded log lines that users look for: why a timer ran, and that its retries are exhausted. */
function recordedLines(vectors) {
  const messages = jsonl(path.join(vectors, 'timers-log.jsonl')).map(({ category, message }) => [category, message.split('\n')[0]]);
  const wanted = messages.filter(([, message]) => /^(Trigger Details:|Function execution failed after)/.test(message));
  return [...new Set(wanted.map(([category, message]) => `${category.replace('Function.', '')}: ${message}`))];
}

/** The cases, each with its differences. `makeApp(name)` returns a copy of an app whose worker records what it receives. */
export async function replayTimers(vectors, makeApp, isChosen) {
  if (!isChosen({ app: 'timers', case: 'all' })) return [];
  const { app, environment, lines, remove } = await makeApp('timers');
  let chappe;
  try {
    chappe = await Chappe.start({ app, env: { ...environment, EVERY: '*/4 * * * * *' } });
    const runsOf = (name) => lines().filter((line) => line.function === name);
    const reached = async (counts) => {
      const lacking = () => Object.entries(counts).filter(([name, count]) => runsOf(name).length < count);
      for (const end = Date.now() + PATIENCE_MS; lacking().length > 0;) {
        if (Date.now() > end) throw new Error(`these timers did not run so often: ${JSON.stringify(lacking())}\n${chappe.log}`);
        await new Promise((resolve) => { setTimeout(resolve, 100); });
      }
    };
    await reached(FIRST_RUNS);
    for (const name of BY_NAME) {
      const headers = { 'content-type': 'application/json' };
      const answer = await fetch(`${chappe.urls.functions}/admin/functions/${name}`, { method: 'POST', headers, body: '{"input":"x"}' });
      if (answer.status !== 202) throw new Error(`the start of ${name} was answered with ${answer.status}`);
    }
    const recorded = recordedRuns(vectors);
    await reached(Object.fromEntries([...recorded].map(([name, runs]) => [name, runs.length])));
    const found = [];
    for (const [name, runs] of recorded) {
      const seen = runsOf(name).map(({ inputs: [{ data }], metadata, retry }) => formOf(data.json, metadata, retry));
      runs.forEach((run, at) => {
        const parts = Object.keys(run).filter((part) => !same(run[part], seen[at][part]));
        const differences = parts.map((part) => `${part} ${JSON.stringify(run[part])}, ours ${JSON.stringify(seen[at][part])}`);
        found.push({ app: 'timers', case: `${name} run ${at + 1}`, differences });
      });
    }
    const logged = (await chappe.functionLog()).map(({ function: name, text }) => `${name}: ${text.split('\n')[0]}`);
    for (const line of recordedLines(vectors)) {
      found.push({ app: 'timers', case: line, differences: logged.includes(line) ? [] : ['is not in our log'] });
    }
    return found;
  } finally {
    await chappe?.stop();
    await remove();
  }
}
