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
    expect(await proveModel(model(softmax, sample([0.5, 0.5])), bounds, signal)).toBeUndefined();
    expect(await proveModel(model(softmax), bounds, signal)).toBeUndefined();
  });

  it('names the golden sample that does not reproduce', async () => {
    const failure = await proveModel(model(softmax, sample([0.9, 0.1])), bounds, signal);
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
    expect(await proveModel(model(Buffer.from('no')), bounds, signal)).toMatchObject({ code: 'model_rejected' });
    const late = await proveModel(model(softmax), { ...bounds, timeoutMs: 50 }, signal);
    expect(late).toMatchObject({ code: 'timeout', message: expect.stringContaining('did not finish within 0.05 s') });
  });
});
