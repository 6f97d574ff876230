import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { GoldenSamples } from '@edgeloop/shared/golden';
import { Manifest } from '@edgeloop/shared/manifest';
import { afterAll, describe, expect, it } from 'vitest';
import { softmaxClassifier } from '../../../../test/support/onnx-models.ts';
import { until } from '../../../../test/support/until.ts';
import type { ModelFiles } from '../../process/ipc.ts';
import { proveModel } from './prove.ts';

const folder = mkdtempSync(join(tmpdir(), 'agent-prove-'));
afterAll(() => rmSync(folder, { recursive: true }));
const { signal } = new AbortController();
const bounds = { timeoutMs: 60_000, maxRssBytes: 1e9 };

function model(bytes: Uint8Array, golden?: unknown): ModelFiles {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  const samples = golden === undefined ? undefined : GoldenSamples.parse({ samples: [golden] });
  return { name: 'm', version: 1, path, manifest: Manifest.parse({}), golden: samples };
}

const softmax = softmaxClassifier([[1, -1]], [0, 0]);
const sample = (scores: number[]) => ({
  inputs: { features: { datatype: 'FP32', shape: [1, 1], data: [0] } },
  outputs: { scores: { datatype: 'FP32', shape: [1, 2], data: scores } },
});

describe('the proof of a model in a process of its own', () => {
  it('holds when the golden samples reproduce, and without any when it runs on zeros', async () => {
    expect(await proveModel(model(softmax, sample([0.5, 0.5])), bounds, signal)).toEqual({});
    expect(await proveModel(model(softmax), bounds, signal)).toEqual({});
  });

  it('names the golden sample that does not reproduce', async () => {
    const { failure } = await proveModel(model(softmax, sample([0.9, 0.1])), bounds, signal);
    expect(failure).toMatchObject({ code: 'model_rejected', message: expect.stringContaining('golden sample 0') });
  });

  it('says nothing of the model when its process is killed from outside', async () => {
    const proof = proveModel(model(softmax), bounds, signal);
    const ended = expect(proof).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/SIGKILL/),
    });
    const prover = await until(
      'the prover',
      async () => {
        const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,args=']);
        const line = stdout
          .split('\n')
          .find((each) => each.includes(` ${process.pid} `) && each.includes('prove-process'));
        return line === undefined ? undefined : Number.parseInt(line.trim(), 10);
      },
      { everyMs: 10 },
    );
    process.kill(prover, 'SIGKILL');
    await ended;
  });

  it('fails for what is not a model, and for a bound that is passed', async () => {
    const { failure } = await proveModel(model(Buffer.from('no')), bounds, signal);
    expect(failure).toMatchObject({ code: 'model_rejected' });
    const { failure: late } = await proveModel(model(softmax), { ...bounds, timeoutMs: 50 }, signal);
    expect(late).toMatchObject({ code: 'timeout', message: expect.stringContaining('did not finish within 0.05 s') });
  });

  const bounded = (bytes: Uint8Array, acceptance: unknown) => {
    const { manifest, ...files } = model(bytes, sample([0.5, 0.5]));
    return { ...files, manifest: Manifest.parse({ ...manifest, acceptance }) };
  };

  it('measures a model that has bounds, and says both numbers when it breaks one', async () => {
    const wide = { maxLatencyMs: 5000, maxMemoryMb: 500 };
    const kept = await proveModel(bounded(softmax, wide), bounds, signal);
    expect(kept.failure).toBeUndefined();
    expect(kept.measured).toMatchObject({ runs: 20, quantile: 0.9 });
    expect(kept.measured?.medianMs).toBeLessThanOrEqual(kept.measured?.quantileMs ?? 0);
    expect(kept.measured?.memoryMb).toBeLessThan(100);

    const slow = await proveModel(bounded(softmax, { maxLatencyMs: 1e-6 }), bounds, signal);
    expect(slow.failure).toMatchObject({ code: 'unsupported', kind: 'contract' });
    expect(slow.failure?.message).toMatch(
      /^the 90 % quantile of \d+ runs takes [\d.]+ ms on this device, its bound is 0\.000001 ms$/,
    );
    expect(slow.measured?.quantileMs).toBeGreaterThan(1e-6);
  });

  it('counts the memory of the model, not that of the runtime', async () => {
    const large = softmaxClassifier(
      [Array.from({ length: 4_000_000 }, () => 0)],
      Array.from({ length: 4_000_000 }, () => 0),
    );
    const { manifest: _, golden: __, ...files } = model(large);
    const measuredWith = (maxMemoryMb: number) =>
      proveModel({ ...files, manifest: Manifest.parse({ acceptance: { maxMemoryMb } }) }, bounds, signal);
    const broken = await measuredWith(20);
    expect(broken.failure).toMatchObject({ kind: 'contract' });
    expect(broken.failure?.message).toMatch(/^it takes [\d.]+ MB of memory on this device, its bound is 20 MB$/);
    // Both tensors are 16 MB each.
    expect(broken.measured?.memoryMb).toBeGreaterThan(30);
  });
});
