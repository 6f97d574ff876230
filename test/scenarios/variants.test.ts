// Variants and bounds go through a fleet: a device picks by what it has, another time by measuring, and refuses what breaks a bound.
import { writeFile } from 'node:fs/promises';
import { arch } from 'node:os';
import { join } from 'node:path';
import type { Device } from '@edgeloop/shared/api/devices';
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { device, predict, release, rolloutIn } from '../support/fleet.ts';
import { manifest, sumClassifier } from '../support/models.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { encodeGraph } from '../support/onnx-models.ts';
import { runCli, temporaryFolder } from '../support/programs.ts';
import { until } from '../support/until.ts';

const fleet = oneAgentFleet();
const Config = z.object({ parameters: z.object({ variant: z.object({ string_value: z.string() }) }) });

/** `sumClassifier` with its weights as 8-bit integers and a scale. */
function int8Classifier(): Uint8Array {
  return encodeGraph({
    inputs: [{ name: 'features', type: 'float', dims: ['n', 2] }],
    outputs: [{ name: 'scores', type: 'float', dims: ['n', 2] }],
    initializers: [
      { name: 'quantised', dims: [2, 2], data: Int8Array.from([0, 100, 0, 100]) },
      { name: 'scale', dims: [], data: Float32Array.from([0.01]) },
      { name: 'zero', dims: [], data: Int8Array.from([0]) },
    ],
    nodes: [
      { opType: 'DequantizeLinear', inputs: ['quantised', 'scale', 'zero'], outputs: ['w'] },
      { opType: 'MatMul', inputs: ['features', 'w'], outputs: ['logits'] },
      { opType: 'Softmax', inputs: ['logits'], outputs: ['scores'], attributes: [{ name: 'axis', int: -1 }] },
    ],
  });
}

/** The same answers after many products with a large identity: slow. */
function slowClassifier(): Uint8Array {
  const size = 384;
  const identity = new Float32Array(size * size);
  for (let at = 0; at < size; at += 1) identity[at * size + at] = 1;
  const times = 60;
  return encodeGraph({
    inputs: [{ name: 'features', type: 'float', dims: ['n', 2] }],
    outputs: [{ name: 'scores', type: 'float', dims: ['n', 2] }],
    initializers: [
      { name: 'identity', dims: [size, size], data: identity },
      { name: 'w', dims: [2, 2], data: Float32Array.from([0, 1, 0, 1]) },
      { name: 'corner', dims: [1], data: BigInt64Array.from([0n]) },
    ],
    nodes: [
      // From what is asked, so that nothing is worked out beforehand.
      { opType: 'ReduceSum', inputs: ['features'], outputs: ['sum'], attributes: [{ name: 'keepdims', int: 0 }] },
      { opType: 'Mul', inputs: ['identity', 'sum'], outputs: ['p0'] },
      ...Array.from({ length: times }, (_, at) => ({
        opType: 'MatMul',
        inputs: [`p${at}`, 'identity'],
        outputs: [`p${at + 1}`],
      })),
      { opType: 'ReduceSum', inputs: [`p${times}`], outputs: ['all'], attributes: [{ name: 'keepdims', int: 0 }] },
      { opType: 'Sub', inputs: ['all', 'all'], outputs: ['nothing'] },
      { opType: 'MatMul', inputs: ['features', 'w'], outputs: ['product'] },
      { opType: 'Add', inputs: ['product', 'nothing'], outputs: ['logits'] },
      { opType: 'Softmax', inputs: ['logits'], outputs: ['scores'], attributes: [{ name: 'axis', int: -1 }] },
    ],
  });
}

test('a device picks a variant by what it has and by measuring, and refuses one that breaks its bound', {
  timeout: 480_000,
}, async () => {
  const { plane, agent } = fleet();
  const folder = await temporaryFolder();
  const file = (name: string) => join(folder.path, name);
  const env = { ...plane.env, EDGELOOP_URL: plane.url };
  const push = async (plain: string, more: unknown, ...options: string[]): Promise<void> => {
    await writeFile(file('model.json'), JSON.stringify({ ...manifest, ...(more as object) }));
    const pushed = await runCli(
      ['models', 'push', 'sum', file(plain), '--manifest', file('model.json'), ...options],
      env,
    );
    expect(pushed).toMatchObject({ code: 0, output: expect.stringContaining('registered') });
  };
  const reportOf = async (): Promise<Device['models'][number] | undefined> =>
    (await device(plane, agent.id)).models.find(({ name }) => name === 'sum');
  const runs = (version: number, variant: string) =>
    until(
      `version ${version} as ${variant}`,
      async () => {
        const report = await reportOf();
        return report?.active?.version === version && report.active.variant === variant ? report : undefined;
      },
      { timeoutMs: 60_000, context: agent.program.output },
    );
  try {
    await writeFile(file('fp32.onnx'), sumClassifier());
    await writeFile(file('int8.onnx'), int8Classifier());
    await writeFile(file('slow.onnx'), slowClassifier());

    // By what it has: the first that is stated needs another machine.
    const strange = arch() === 'x64' ? 'arm64' : 'x64';
    await push(
      'fp32.onnx',
      {},
      '--variant',
      `int8=${file('int8.onnx')}`,
      '--variant',
      `far=${file('fp32.onnx')}`,
      '--require',
      `far:arch=${strange}`,
      '--require',
      `int8:arch=${arch()},memoryMb=64`,
    );
    const detail = await plane.api.get('/models/sum/versions/1', ModelVersionDetail);
    expect(detail.variants?.map(({ name }) => name)).toEqual(['int8', 'far', 'default']);
    await rolloutIn(plane, await release(plane, 'sum', 1), ['completed']);
    await runs(1, 'int8');
    expect(await predict(agent.url, 'sum', { a: 1, b: 1 })).toMatchObject({ version: 1, label: 'high' });
    const config = Config.parse(await (await fetch(`${agent.url}/v2/models/sum/config`)).json());
    expect(config.parameters.variant.string_value).toBe('int8');
    const shown = await runCli(['models', 'show', 'sum', '1'], env);
    expect(shown.output).toMatch(/int8 +\d+ .*arch=.*, memoryMb=64/);

    // By measuring, within bounds that any machine keeps.
    const wide = { maxLatencyMs: 20_000, maxMemoryMb: 2000 };
    await push(
      'slow.onnx',
      { acceptance: wide },
      '--variant',
      `int8=${file('int8.onnx')}`,
      '--require',
      'default:cpus=1',
      '--select',
      'measure',
    );
    const rollout = await rolloutIn(plane, await release(plane, 'sum', 2), ['completed']);
    const { active } = await runs(2, 'int8');
    expect(active?.variantWhy).toMatch(/^the quickest here: int8 [\d.]+ ms; default [\d.]+ ms$/);
    expect(active?.measured).toMatchObject({ runs: 20, quantile: 0.9, memoryMb: expect.any(Number) });
    expect(rollout.devices).toMatchObject([{ deviceId: agent.id, variant: 'int8' }]);

    // One that breaks its bound on this device never answers.
    await push('slow.onnx', { acceptance: { maxLatencyMs: 0.01, runs: 10 } });
    const refused = await rolloutIn(plane, await release(plane, 'sum', 3, { onFailure: 'pause' }), ['paused']);
    expect(refused.status).toMatch(
      /the 90 % quantile of \d+ runs takes [\d.]+ ms on this device, its bound is 0.01 ms/,
    );
    expect(refused.gates[0]).toMatchObject({ gate: 'failed_devices', kinds: { contract: 1 } });
    expect(await runs(2, 'int8')).toMatchObject({ candidate: { version: 3, error: { kind: 'contract' } } });
    expect(await predict(agent.url, 'sum', { a: -1, b: -1 })).toMatchObject({ version: 2, label: 'low' });
  } finally {
    await folder.remove();
  }
});
