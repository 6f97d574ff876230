import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GoldenSamples } from '@edgeloop/shared/golden';
import { Manifest } from '@edgeloop/shared/manifest';
import { expect, it } from 'vitest';
import { softmaxClassifier } from '../../../test/support/onnx-models.ts';
import { createEngine } from './engine.ts';
import { rerunGolden } from './golden-again.ts';

const sample = (scores: number[]) => ({
  inputs: { features: { datatype: 'FP32', shape: [1, 1], data: [0] } },
  outputs: { scores: { datatype: 'FP32', shape: [1, 2], data: scores } },
});

it('runs the golden samples of a loaded version where its requests run', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'agent-golden-'));
  const engine = createEngine({ threads: 1, onCrash: () => undefined });
  try {
    const path = join(folder, 'model.onnx');
    writeFileSync(path, softmaxClassifier([[1, -1]], [0, 0]));
    const golden = GoldenSamples.parse({ samples: [sample([0.5, 0.5])] });
    await engine.load({ name: 'm', version: 1, path, manifest: Manifest.parse({}), golden });
    await rerunGolden(engine, 'm', 1);
    const { batcher, files } = engine.list()[0]?.model ?? {};
    expect(batcher?.statistics().executionCount).toBeGreaterThanOrEqual(1);
    // What it computes has changed since it was loaded.
    files?.golden?.samples.push(...GoldenSamples.parse({ samples: [sample([0.9, 0.1])] }).samples);
    await expect(rerunGolden(engine, 'm', 1)).rejects.toMatchObject({
      code: 'model_rejected',
      message: expect.stringContaining('golden sample 1: output "scores" value 0 is 0.5, expected 0.9'),
    });
  } finally {
    await engine.close();
    rmSync(folder, { recursive: true });
  }
});
