// A bad version stops by itself on the first devices, and they go back to what worked.

import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { expect, test } from 'vitest';
import { device, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { manifest, versionForm } from '../support/models.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { encodeGraph } from '../support/onnx-models.ts';
import { until } from '../support/until.ts';

const fleet = oneAgentFleet({ EDGELOOP_PROBATION_SECONDS: '20' });

/**
 * Works for harmless inputs and kills its process for others: INT32_MIN / -1 is a SIGFPE inside ONNX Runtime. The
 * classes' scores are made of (INT32_MIN / int(a)), so a = -1 is deadly.
 */
function deadlyModel(): Uint8Array {
  return encodeGraph({
    inputs: [{ name: 'features', type: 'float', dims: ['batch', 2] }],
    outputs: [{ name: 'scores', type: 'float', dims: ['batch', 2] }],
    initializers: [
      { name: 'smallest', dims: [1], data: Float32Array.of(-(2 ** 31)) },
      { name: 'one', dims: [1], data: Float32Array.of(1) },
    ],
    nodes: [
      { opType: 'Cast', inputs: ['smallest'], outputs: ['numerator'], attributes: [{ name: 'to', int: 6 }] },
      { opType: 'Abs', inputs: ['features'], outputs: ['size'] },
      { opType: 'Max', inputs: ['size', 'one'], outputs: ['bounded'] },
      { opType: 'Sign', inputs: ['features'], outputs: ['sign'] },
      { opType: 'Equal', inputs: ['features', 'one'], outputs: ['isOne'] },
      { opType: 'Neg', inputs: ['one'], outputs: ['minusOne'] },
      { opType: 'Where', inputs: ['isOne', 'minusOne', 'bounded'], outputs: ['chosen'] },
      { opType: 'Cast', inputs: ['chosen'], outputs: ['denominator'], attributes: [{ name: 'to', int: 6 }] },
      { opType: 'Div', inputs: ['numerator', 'denominator'], outputs: ['quotient'] },
      { opType: 'Cast', inputs: ['quotient'], outputs: ['asFloat'], attributes: [{ name: 'to', int: 1 }] },
      { opType: 'Softmax', inputs: ['asFloat'], outputs: ['scores'], attributes: [{ name: 'axis', int: -1 }] },
    ],
  });
}

test('a model that kills its process on real requests is taken back, and its rollout rolls back', {
  timeout: 180_000,
}, async () => {
  const { plane, agent } = fleet();
  const good = await pushVersion(plane, 'sum');
  await rolloutIn(plane, await release(plane, 'sum', good), ['completed']);
  await serves(agent, 'sum', good);

  const { version: deadly } = await plane.api.send(
    'POST',
    '/models/sum/versions',
    ModelVersionDetail,
    versionForm(deadlyModel(), { manifest }),
  );
  const rollout = await release(plane, 'sum', deadly, { bakeSeconds: 600 });
  await until(
    'the deadly version in probation',
    async () => (await device(plane, 'edge-1')).models[0]?.active?.version === deadly || undefined,
    {
      context: agent.program.output,
    },
  );
  // The very input that kills it, as device software would go on to send it.
  const end = performance.now() + 60_000;
  let answer: { version: string } | undefined;
  while (performance.now() < end && Number(answer?.version) !== good) {
    answer = await predict(agent.url, 'sum', { a: 1, b: 1 }).catch(() => undefined);
  }
  expect(Number(answer?.version), agent.program.output()).toBe(good);
  const ended = await rolloutIn(plane, rollout, ['rolled_back']);
  expect(JSON.stringify(ended.history)).toMatch(/failed/i);
  await serves(agent, 'sum', good);
});
