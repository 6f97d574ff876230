import { sourceOf } from '@edgeloop/shared/onnx/fields';
import { readGraph } from '@edgeloop/shared/onnx/graph';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import fc from 'fast-check';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { expect, it } from 'vitest';
import { generateGraph } from './generated-graph-fixture.ts';
import { rowDifference } from './row-difference.ts';
import { reasonAgainstJoining } from './row-walk.ts';

/** More of them where somebody looks for hours: `EDGELOOP_GRAPHS=100000`. */
const graphs = Number(process.env.EDGELOOP_GRAPHS ?? 400);
const rows = 4;

async function answer(
  session: InferenceSession,
  dims: readonly number[],
  rowsOf: readonly Float32Array[],
): Promise<NamedTensor[]> {
  const data = Float32Array.from(rowsOf.flatMap((row) => [...row]));
  const { y } = await session.run({ x: new Tensor('float32', data, [rowsOf.length, ...dims]) });
  const values = y?.data instanceof Float32Array ? y.data.slice() : new Float32Array(0);
  return [{ name: 'y', datatype: 'FP32', shape: y?.dims ?? [], data: values }];
}

/** Of other magnitudes, so that whatever is taken over all rows shows. */
function rowOf(size: number, seed: number): Float32Array {
  return Float32Array.from({ length: size }, (_, i) => Math.sin(seed * 12.9898 + i * 78.233) * 10 ** ((seed % 3) - 1));
}

/** What a graph that the walk lets pass does to a row in company; undefined when nothing. */
async function harm(bytes: Uint8Array, dims: readonly number[]): Promise<string | undefined> {
  const session = await InferenceSession.create(bytes, { logSeverityLevel: 4, intraOpNumThreads: 1 });
  try {
    const size = dims.reduce((all, dim) => all * dim, 1);
    const members = Array.from({ length: rows }, (_, seed) => rowOf(size, seed));
    // What fails together runs alone.
    const joined = await answer(session, dims, members).catch(() => undefined);
    if (!joined) return undefined;
    for (const [at, member] of members.entries()) {
      const difference = rowDifference(await answer(session, dims, [member]), joined, { at, rows });
      if (difference !== undefined) return difference;
    }
    return undefined;
  } finally {
    await session.release();
  }
}

it('lets no graph pass in which a row in company is answered otherwise than alone', async () => {
  let passed = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(1000), { minLength: 8, maxLength: 60 }), async (numbers) => {
      const { bytes, dims, words } = generateGraph(numbers);
      if (reasonAgainstJoining(readGraph(sourceOf(bytes)), ['y']) !== undefined) return;
      passed++;
      expect(await harm(bytes, dims), words).toBeUndefined();
    }),
    { numRuns: graphs, ...(process.env.EDGELOOP_SEED ? { seed: Number(process.env.EDGELOOP_SEED) } : {}) },
  );
  // Else nothing was tried.
  expect(passed).toBeGreaterThan(graphs / 20);
}, 3_600_000);
