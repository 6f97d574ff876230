// A rollback fails no request: whatever a new version does in its probation, who asks the model is answered, by the new
// version or by the last good one. Only a request that itself ends a process or fails may fail.
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { Agent as HttpAgent, request } from 'undici';
import { beforeAll, expect, test } from 'vitest';
import { device, pushVersion, release, serves } from '../support/fleet.ts';
import { manifest, versionForm } from '../support/models.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { encodeGraph } from '../support/onnx-models.ts';
import { until } from '../support/until.ts';

/** Quiet machines are far below; one that is busy with other tests is given longer. */
const withinMs = Number(process.env.EDGELOOP_GAP_MS ?? 15_000);
const fleet = oneAgentFleet({ EDGELOOP_PROBATION_SECONDS: '20' });
let good: number;
const features = { name: 'features', type: 'float', dims: ['batch', 2] } as const;
const scores = { name: 'scores', type: 'float', dims: ['batch', 2] } as const;
const softmax = (input: string) => ({
  opType: 'Softmax',
  inputs: [input],
  outputs: ['scores'],
  attributes: [{ name: 'axis', int: -1 }],
});
const toInt64 = { opType: 'Cast', inputs: ['features'], outputs: ['whole'], attributes: [{ name: 'to', int: 7 }] };

/** Fails when a feature is 9. */
function failing(): Uint8Array {
  return encodeGraph({
    inputs: [features],
    outputs: [scores],
    initializers: [{ name: 'table', dims: [2], data: Float32Array.of(0, 1) }],
    nodes: [toInt64, { opType: 'Gather', inputs: ['table', 'whole'], outputs: ['found'] }, softmax('found')],
  });
}

/** Ends its process when a feature is 9: INT64_MIN / -1 is a SIGFPE. */
function deadly(): Uint8Array {
  return encodeGraph({
    inputs: [features],
    outputs: [scores],
    initializers: [
      { name: 'smallest', dims: [1], data: BigInt64Array.of(-(2n ** 63n)) },
      { name: 'nine', dims: [1], data: BigInt64Array.of(9n) },
      { name: 'one', dims: [1], data: BigInt64Array.of(1n) },
      { name: 'minus', dims: [1], data: BigInt64Array.of(-1n) },
      { name: 'zero', dims: [1], data: Float32Array.of(0) },
    ],
    nodes: [
      toInt64,
      { opType: 'Equal', inputs: ['whole', 'nine'], outputs: ['isNine'] },
      { opType: 'Where', inputs: ['isNine', 'minus', 'one'], outputs: ['divisor'] },
      { opType: 'Div', inputs: ['smallest', 'divisor'], outputs: ['quotient'] },
      { opType: 'Cast', inputs: ['quotient'], outputs: ['huge'], attributes: [{ name: 'to', int: 1 }] },
      { opType: 'Mul', inputs: ['huge', 'zero'], outputs: ['nothing'] },
      { opType: 'Add', inputs: ['features', 'nothing'], outputs: ['same'] },
      softmax('same'),
    ],
  });
}

/** Never returns when a feature is 9. */
function endless(): Uint8Array {
  const values = { name: 'v', type: 'float', dims: ['batch', 2] } as const;
  const body = {
    name: 'body',
    inputs: [{ name: 'i', type: 'int64', dims: [] }, { name: 'again', type: 'bool', dims: [] }, values],
    outputs: [
      { name: 'again_out', type: 'bool', dims: [] },
      { ...values, name: 'v_out' },
    ],
    nodes: [
      { opType: 'Identity', inputs: ['again'], outputs: ['again_out'] },
      { opType: 'Identity', inputs: ['v'], outputs: ['v_out'] },
    ],
  } as const;
  return encodeGraph({
    inputs: [features],
    outputs: [scores],
    initializers: [{ name: 'eight', dims: [], data: Float32Array.of(8) }],
    nodes: [
      { opType: 'ReduceMax', inputs: ['features'], outputs: ['most'], attributes: [{ name: 'keepdims', int: 0 }] },
      { opType: 'Greater', inputs: ['most', 'eight'], outputs: ['go'] },
      {
        opType: 'Loop',
        inputs: ['', 'go', 'features'],
        outputs: ['looped'],
        attributes: [{ name: 'body', graph: body }],
      },
      softmax('looped'),
    ],
  });
}

interface Callers {
  answered(): number;
  stop(): Promise<{ longestMs: number; failures: string[] }>;
}

/** They leave the processor to what they are to notice. */
const restMs = 5;

/** So many callers, each with a connection of its own, who ask again and again. */
function startCallers(url: string, count: number): Callers {
  const dispatcher = new HttpAgent({ connections: count, headersTimeout: 60_000 });
  const failures: string[] = [];
  let [answered, longestMs, going] = [0, 0, true];
  const caller = async () => {
    while (going) {
      const begunMs = performance.now();
      try {
        const { statusCode, body } = await ask(url, 1, dispatcher);
        if (statusCode !== 200) failures.push(`${statusCode} ${body}`);
        else answered++;
      } catch (error) {
        failures.push(String(error));
      }
      longestMs = Math.max(longestMs, performance.now() - begunMs);
      await new Promise((resolve) => setTimeout(resolve, restMs));
    }
  };
  const all = Promise.all(Array.from({ length: count }, caller));
  return {
    answered: () => answered,
    async stop() {
      going = false;
      await all;
      await dispatcher.close();
      return { longestMs: Math.round(longestMs), failures };
    },
  };
}

async function ask(url: string, a: number, dispatcher?: HttpAgent): Promise<{ statusCode: number; body: string }> {
  const { statusCode, body } = await request(`${url}/predict/sum`, {
    method: 'POST',
    ...(dispatcher === undefined ? {} : { dispatcher }),
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ features: { a, b: 0 } }),
  });
  return { statusCode, body: await body.text() };
}

const bounded: ManifestInput = { ...manifest, maxRunMs: 1000 };

const state = async () => (await device(fleet().plane, 'edge-1')).models[0];

beforeAll(async () => {
  const { plane, agent } = fleet();
  good = await pushVersion(plane, 'sum');
  await release(plane, 'sum', good);
  const isGood = async () => (await state())?.lastGood === good || undefined;
  await until('a good version', isGood, { timeoutMs: 120_000, context: agent.program.output });
}, 240_000);

test.each([
  // Enough of them to be a share of all that is asked, however fast the machine is.
  ['fails too often', failing, 100],
  ['ends its process', deadly, 1],
  ['never returns', endless, 1],
])(
  'a version that %s in its probation is taken back, and no other request fails',
  { timeout: 300_000 },
  async (_, bad, atOnce) => {
    const { plane, agent } = fleet();
    for (const count of [1, 8]) {
      const form = versionForm(bad(), { manifest: { ...bounded, description: `for ${count}` } });
      const { version } = await plane.api.send('POST', '/models/sum/versions', ModelVersionDetail, form);
      const callers = startCallers(agent.url, count);
      await release(plane, 'sum', version, { bakeSeconds: 600 });
      await until(
        'the version in its probation',
        async () => (await state())?.active?.version === version || undefined,
        {
          context: agent.program.output,
        },
      );
      await until(
        'the last good version',
        async () => {
          const asked = Array.from({ length: atOnce }, () => ask(agent.url, 9).catch(() => undefined));
          await Promise.race([Promise.all(asked), new Promise((resolve) => setTimeout(resolve, 20 * atOnce))]);
          return (
            (await state())?.candidate?.state === 'failed' || (await state())?.active?.version === good || undefined
          );
        },
        { everyMs: 5, context: agent.program.output },
      );
      const before = callers.answered();
      await until('answers after it', async () => callers.answered() > before + 50 || undefined);
      const { failures, longestMs } = await callers.stop();
      expect(failures, agent.program.output()).toEqual([]);
      expect(longestMs).toBeLessThan(withinMs);
      await serves(agent, 'sum', good);
    }
  },
);
