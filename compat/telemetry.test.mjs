// Spans are exported by OTLP, and parsed by OpenTelemetry's own message classes in a collector written in Python.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { Chappe, EXAMPLE, eventually, getJson } from './harness.mjs';

const collectorFile = path.join(path.dirname(fileURLToPath(import.meta.url)), 'telemetry/collector.py');

/** The collector's lines, in order of arrival. */
async function startCollector() {
  const child = spawn('python3', [collectorFile], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line)));
  const { port } = await eventually(() => lines[0], 'the collector listening');
  return { port, spans: () => lines.slice(1), stop: () => child.stdin.end() };
}

test('a write and its delivery to the clients are exported as one trace', async (context) => {
  const collector = await startCollector();
  context.after(() => collector.stop());
  const chappe = await Chappe.start({
    app: EXAMPLE,
    settings: [`telemetry.otlp_endpoint=http://127.0.0.1:${collector.port}`],
  });
  context.after(() => chappe.stop());
  await eventually(async () => (await getJson(`${chappe.urls.gateway}/api/cards`)).length >= 3, 'the first cards');
  const traceId = randomBytes(16).toString('hex');
  const response = await fetch(`${chappe.urls.gateway}/api/cards/traced`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', traceparent: `00-${traceId}-${'cd'.repeat(8)}-01` },
    body: JSON.stringify({ text: 'traced', column: 'todo', colour: 'sand' }),
  });
  assert.equal(response.status, 200);

  // A batch may contain the first cards as well; then the trace has a `send` for each of them.
  const expected = ['documents.write', 'feed', 'function', 'send'];
  const names = (spans) => [...new Set(spans.map((span) => span.name))].sort();
  const spans = await eventually(() => {
    const mine = collector.spans().filter((span) => span.traceId === traceId);
    return names(mine).length >= expected.length ? mine : undefined;
  }, 'the spans of the write');
  assert.deepEqual(names(spans), expected);
  for (const span of spans) {
    assert.equal(span.path, '/v1/traces');
    assert.equal(span.contentType, 'application/x-protobuf');
    assert.equal(span.service, 'chappe');
    assert.match(span.spanId, /^[0-9a-f]{16}$/);
    assert.ok(span.durationNs >= 0, `${span.name} took ${span.durationNs} ns`);
  }
});
