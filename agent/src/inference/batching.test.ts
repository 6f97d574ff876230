import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { batchKey, joinInputs, orderInputs, planBatch, splitOutputs } from './batching.ts';
import type { NamedTensor } from './tensors.ts';

const waiting = fc.record({
  key: fc.constantFrom(undefined, 'a', 'b'),
  rows: fc.integer({ min: 1, max: 40 }),
  enqueuedAtMs: fc.nat(20),
});

function matrix(rows: number, width: number, from: number): NamedTensor {
  const data = Float32Array.from({ length: rows * width }, (_, i) => from + i);
  return { name: 'x', datatype: 'FP32', shape: [rows, width], data };
}

describe('planning a batch', () => {
  it('takes the oldest first, only its own kind, in order, and never more rows than allowed', () => {
    fc.assert(
      fc.property(fc.array(waiting, { minLength: 1 }), fc.integer({ min: 1, max: 64 }), (queue, maxBatch) => {
        const plan = planBatch(queue, { maxBatch, maxDelayMs: 0 }, 100);
        if (plan.kind !== 'run') throw new Error('a worker is free and requests wait');
        const taken = plan.places.flatMap((place) => queue[place] ?? []);
        expect(plan.places[0]).toBe(0);
        expect(plan.places).toEqual([...new Set(plan.places)].sort((a, b) => a - b));
        expect(new Set(taken.map(({ key }) => key)).size).toBe(1);
        const rows = taken.reduce((sum, request) => sum + request.rows, 0);
        if (taken.length > 1) {
          expect(queue[0]?.key).toBeDefined();
          expect(rows).toBeLessThanOrEqual(maxBatch);
        }
        // Nothing that would have fitted was left behind.
        const left = queue.filter((_, place) => !plan.places.includes(place));
        const head = queue[0];
        if (head?.key !== undefined && head.rows < maxBatch) {
          expect(left.every(({ key, rows: more }) => key !== head.key || rows + more > maxBatch)).toBe(true);
        }
      }),
    );
  });

  it('waits for company no longer than it may, and not at all without a delay', () => {
    fc.assert(
      fc.property(fc.array(waiting, { minLength: 1 }), fc.nat(10), fc.nat(30), (queue, maxDelayMs, nowMs) => {
        const plan = planBatch(queue, { maxBatch: 64, maxDelayMs }, nowMs);
        const age = nowMs - (queue[0]?.enqueuedAtMs ?? 0);
        if (age >= maxDelayMs) expect(plan.kind).toBe('run');
        if (plan.kind === 'wait') expect(plan.waitMs + age).toBe(maxDelayMs);
      }),
    );
    expect(planBatch([], { maxBatch: 1, maxDelayMs: 0 }, 0)).toEqual({ kind: 'nothing' });
  });
});

describe('joining and parting', () => {
  it('gives each request its own rows back', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1 }),
        fc.integer({ min: 1, max: 5 }),
        (rows, width) => {
          const requests = rows.map((count, i) => [matrix(count, width, i * 1000)]);
          const joined = joinInputs(requests);
          expect(joined[0]?.shape).toEqual([rows.reduce((a, b) => a + b, 0), width]);
          expect(splitOutputs(joined, rows)).toEqual(requests);
        },
      ),
    );
  });

  it('joins texts and 64-bit integers too', () => {
    const text = (data: string[]): NamedTensor => ({ name: 't', datatype: 'BYTES', shape: [data.length], data });
    expect(joinInputs([[text(['a'])], [text(['b', 'c'])]])[0]).toEqual(text(['a', 'b', 'c']));
    const big = (data: bigint[]): NamedTensor => ({
      name: 'n',
      datatype: 'INT64',
      shape: [data.length, 1],
      data: BigInt64Array.from(data),
    });
    expect(joinInputs([[big([2n ** 60n])], [big([-1n])]])[0]).toEqual(big([2n ** 60n, -1n]));
  });

  it('does not part what has not a row for each row', () => {
    expect(splitOutputs([matrix(3, 2, 0)], [1, 1])).toBeUndefined();
  });

  it('only lets requests of one shape share a run', () => {
    expect(batchKey([matrix(1, 3, 0)])).toBe(batchKey([matrix(7, 3, 0)]));
    expect(batchKey([matrix(1, 3, 0)])).not.toBe(batchKey([matrix(1, 4, 0)]));
    expect(batchKey([matrix(0, 3, 0)])).toBeUndefined();
    expect(batchKey([matrix(1, 3, 0), matrix(2, 3, 0)])).toBeUndefined();
  });
});

describe('inputs against the signature', () => {
  const signature = { inputs: [{ name: 'x', datatype: 'FP32' as const, shape: [-1, 3] }], outputs: [] };

  it.each([
    [[], 'input "x" is missing'],
    [[matrix(1, 2, 0)], 'has shape [1,2], the model takes [-1,3]'],
    [[{ ...matrix(1, 3, 0), name: '__proto__' }], 'unknown input "__proto__"; the model takes "x"'],
    [[{ ...matrix(1, 3, 0), datatype: 'FP64' as const }], 'is FP64, the model takes FP32'],
    [[matrix(1, 3, 0), matrix(1, 3, 0)], 'given twice'],
  ])('refuses what does not match', (inputs, reason) => {
    expect(() => orderInputs(signature, inputs)).toThrow(reason);
  });
});
