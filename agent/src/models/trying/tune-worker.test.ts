import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Manifest } from '@edgeloop/shared/manifest';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { Piscina } from 'piscina';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeGraph, identity } from '../../../../test/support/onnx-models.ts';
import type { TuneReport, TuneTask } from './tune-worker.ts';

const folder = mkdtempSync(join(tmpdir(), 'agent-tune-worker-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** What a measuring thread says of the model. */
async function batchableOf(bytes: Uint8Array): Promise<boolean> {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  const threads = new Piscina<TuneTask, TuneReport>({
    filename: fileURLToPath(new URL('./tune-worker.ts', import.meta.url)),
    maxThreads: 1,
    workerData: { model: { name: 'm', version: 1, path, manifest: Manifest.parse({}) }, intraOpThreads: 1 },
    execArgv: sourceExecArgv(import.meta.url),
  });
  const task = {
    batch: undefined,
    judge: true,
    sliceMs: 0,
    barrier: new Int32Array(new SharedArrayBuffer(4)),
    parties: 1,
  };
  const { batchable } = await threads.run(task);
  await threads.destroy();
  return batchable;
}

describe('the measurement of a model', () => {
  it('runs several rows at once for the same models as the server does', async () => {
    expect(await batchableOf(identity('float', ['n', 2]))).toBe(true);
    expect(await batchableOf(identity('float', [1, 2]))).toBe(false);
    // Rows of the output are not those of the input, as with detections per image.
    const detections = encodeGraph({
      inputs: [{ name: 'images', type: 'float', dims: ['n', 2] }],
      outputs: [{ name: 'found', type: 'float', dims: ['detections', 2] }],
      nodes: [
        { opType: 'Concat', inputs: ['images', 'images'], outputs: ['found'], attributes: [{ name: 'axis', int: 0 }] },
      ],
    });
    expect(await batchableOf(detections)).toBe(false);
  });
});
