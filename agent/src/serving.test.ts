import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { softmaxClassifier } from '../../test/support/onnx-models.ts';
import { modelFiles, type ServingHarness, startServing } from './process/serving-fixture.ts';
import { decodeRecords } from './telemetry/record.ts';

const folder = mkdtempSync(join(tmpdir(), 'serving-'));
const manifest = {
  task: 'classification',
  inputs: { features: { features: ['a', 'b'] } },
  outputs: { labels: ['left', 'right'] },
};

/** Version 1 answers the larger feature, version 2 the smaller one. */
function files(version: number) {
  const path = join(folder, `v${version}.onnx`);
  const sign = version === 1 ? 5 : -5;
  writeFileSync(
    path,
    softmaxClassifier(
      [
        [sign, 0],
        [0, sign],
      ],
      [0, 0],
    ),
  );
  return modelFiles({ name: 'sides', version, path, manifest });
}

const Answer = z.object({ version: z.number(), label: z.string() });

function post(url: string, body: unknown) {
  return fetch(url, { method: 'POST', body: JSON.stringify(body) });
}

describe('the serving process', () => {
  let serving: ServingHarness;
  const journal = join(folder, 'journal-1');

  beforeAll(async () => {
    serving = await startServing({ threads: 2 });
    await serving.ask({ kind: 'journal', path: journal });
  });

  afterAll(async () => {
    await serving.end();
    rmSync(folder, { recursive: true });
  });

  it('is ready once it was told so and every loaded model is active', async () => {
    expect((await fetch(`${serving.url}/readyz`)).status).toBe(503);
    serving.tell({ kind: 'ready' });
    await vi.waitUntil(async () => (await fetch(`${serving.url}/readyz`)).status === 200, { timeout: 15_000 });
    expect(await serving.ask({ kind: 'load', model: files(1) })).toMatchObject({ kind: 'reply' });
    expect((await fetch(`${serving.url}/readyz`)).status).toBe(503);
    expect((await post(`${serving.url}/predict/sides`, { features: { a: 1, b: 0 } })).status).toBe(503);
    expect(await serving.ask({ kind: 'activate', name: 'sides', version: 1 })).not.toHaveProperty('error');
    expect((await fetch(`${serving.url}/readyz`)).status).toBe(200);
  });

  it('has every record in the journal before the caller has the answer', async () => {
    for (let i = 0; i < 50; i++) {
      const answer = await post(`${serving.url}/predict/sides`, { id: `r${i}`, features: { a: 1, b: 0 } });
      await answer.body?.cancel();
      const last = decodeRecords(readFileSync(journal)).records.at(-1);
      expect(last).toMatchObject({ inferenceId: `r${i}`, model: 'sides', version: 1, outcome: 'ok', rows: 1 });
      expect(last?.predicted).toEqual(['left']);
      expect(last?.features).toEqual(Float32Array.of(1, 0));
    }
  });

  it('swaps versions under load without failing a request', async () => {
    let stop = false;
    const seen = { 1: 0, 2: 0, failed: 0 };
    const callers = Array.from({ length: 8 }, async () => {
      while (!stop) {
        const answer = await post(`${serving.url}/predict/sides`, { features: { a: 1, b: 0 } });
        const { version, label } = Answer.parse(await answer.json());
        const right = (version === 1 && label === 'left') || (version === 2 && label === 'right');
        if (answer.status !== 200 || !right) seen.failed++;
        else seen[version === 1 ? 1 : 2]++;
      }
    });
    await vi.waitUntil(() => seen[1] > 50, { timeout: 15_000 });
    for (const [to, from] of [
      [2, 1],
      [1, 2],
      [2, 1],
    ] as const) {
      const before = seen[to];
      for (const message of [
        { kind: 'load' as const, model: files(to) },
        { kind: 'activate' as const, name: 'sides', version: to },
        { kind: 'unload' as const, name: 'sides', version: from },
      ]) {
        expect(await serving.ask(message)).not.toHaveProperty('error');
      }
      await vi.waitUntil(() => seen[to] > before + 50, { timeout: 15_000 });
    }
    stop = true;
    await Promise.all(callers);
    expect(seen.failed).toBe(0);
  });

  it('counts what was answered, and the journal agrees', async () => {
    const next = join(folder, 'journal-2');
    expect(await serving.ask({ kind: 'journal', path: next })).not.toHaveProperty('error');
    const { records } = decodeRecords(readFileSync(journal));
    const succeeded = records.filter(({ version, outcome }) => version === 2 && outcome === 'ok').length;
    const bad = await post(`${serving.url}/predict/sides`, { features: { a: 'x', b: 0 } });
    expect(await bad.json()).toEqual({ error: 'feature "a" must be a number, not "x"' });
    expect(decodeRecords(readFileSync(next)).records).toMatchObject([{ outcome: 'invalid', rows: 0 }]);
    serving.said.length = 0;
    await vi.waitUntil(() => serving.said.some(({ kind }) => kind === 'counts'), { timeout: 15_000 });
    const counts = serving.said.find(({ kind }) => kind === 'counts');
    expect(counts).toMatchObject({ models: [{ name: 'sides', version: 2, failed: 0 }] });
    // The version was loaded twice; its counts began anew the second time.
    expect(counts?.kind === 'counts' && counts.models[0]?.succeeded).toBeLessThanOrEqual(succeeded);
  });

  it('passes labels on and answers what the supervisor says', async () => {
    serving.onSaid((message) => {
      if (message.kind !== 'feedback') return;
      const { requestId, inferenceId, label } = message;
      if (inferenceId === 'known' && label === 'left') serving.tell({ kind: 'feedback_result', requestId });
      else {
        const error = { code: 'invalid_request' as const, message: 'unknown label "up"; the labels are left, right' };
        serving.tell({ kind: 'feedback_result', requestId, error });
      }
    });
    expect((await post(`${serving.url}/feedback/known`, { label: 'left' })).status).toBe(202);
    const refused = await post(`${serving.url}/feedback/known`, { label: 'up' });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toEqual({ error: 'unknown label "up"; the labels are left, right' });
  });

  it('refuses to load what does not load, and keeps answering', async () => {
    const path = join(folder, 'broken.onnx');
    writeFileSync(path, 'not an ONNX file');
    const reply = await serving.ask({ kind: 'load', model: modelFiles({ name: 'broken', version: 1, path }) });
    expect(reply.error).toMatchObject({ code: 'model_rejected' });
    expect((await fetch(`${serving.url}/readyz`)).status).toBe(200);
    expect((await post(`${serving.url}/predict/broken`, { features: [1] })).status).toBe(404);
  });

  it('answers 413 to a body that is too large without reading it', async () => {
    const { port } = new URL(serving.url);
    const socket = connect(Number(port), '127.0.0.1');
    socket.write('POST /predict/sides HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n{"features"');
    const [head] = await once(socket, 'data');
    expect(String(head)).toMatch(/^HTTP\/1.1 413 /);
    socket.destroy();
  });

  it('finishes what is in flight on stop, exits with 0 and leaves a whole journal', async () => {
    // Callers that were not heard yet may be reset; they must not count as errors nobody looked at.
    const answers = Promise.allSettled(
      Array.from({ length: 20 }, (_, i) =>
        post(`${serving.url}/predict/sides`, { id: `last${i}`, features: { a: 1, b: i } }).then(
          (answer) => answer.status,
        ),
      ),
    );
    const path = join(folder, 'journal-2');
    await vi.waitUntil(
      () => decodeRecords(readFileSync(path)).records.some(({ inferenceId }) => /^last/.test(inferenceId)),
      { timeout: 15_000 },
    );
    serving.tell({ kind: 'stop' });
    const [code] = await once(serving.child, 'exit');
    expect(code).toBe(0);
    const statuses = (await answers).flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
    expect(statuses.length).toBeGreaterThan(0);
    expect(new Set(statuses)).toEqual(new Set([200]));
    const bytes = readFileSync(path);
    const { records, consumedBytes } = decodeRecords(bytes);
    expect(consumedBytes).toBe(bytes.length);
    expect(records.filter(({ inferenceId }) => /^last/.test(inferenceId)).length).toBeGreaterThanOrEqual(
      statuses.length,
    );
  });
});

describe('a serving process without its supervisor', () => {
  it('ends at once', async () => {
    const serving = await startServing();
    const exited = once(serving.child, 'exit');
    serving.child.disconnect();
    await exited;
    await serving.end();
  });
});
