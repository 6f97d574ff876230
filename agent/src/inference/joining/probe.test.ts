import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import { describe, expect, it } from 'vitest';
import { probe } from './probe.ts';

const signature: ModelSignature = {
  inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 3] }],
  outputs: [{ name: 'y', datatype: 'FP32', shape: [-1] }],
};

type PerRun = (rows: readonly number[][]) => number[];

/** A model of `x` [n, width] that gives a number for each row; a run takes so long. */
function model(of: PerRun, { runMs = 1, takes = (_: readonly number[]): boolean => true } = {}) {
  let clock = 0;
  let runs = 0;
  const run = async ([x]: readonly NamedTensor[]): Promise<NamedTensor[]> => {
    clock += runMs;
    runs++;
    const [count = 0, ...rest] = x?.shape ?? [];
    if (!takes(rest)) throw new Error('not this shape');
    const width = (x?.data.length ?? 0) / count;
    const data = Array.from(x?.data ?? [], Number);
    const rows = Array.from({ length: count }, (_, i) => data.slice(i * width, (i + 1) * width));
    const answers = of(rows);
    return [{ name: 'y', datatype: 'FP32', shape: [answers.length], data: Float32Array.from(answers) }];
  };
  return { run, nowMs: () => clock, runs: () => runs };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
const each: PerRun = (rows) => rows.map(sum);
const ask = (of: ReturnType<typeof model>, of2: ModelSignature = signature) =>
  probe({ ...of, signature: of2, golden: undefined });

describe('the trial of rows in company', () => {
  it('holds where each row is answered by itself, up to rounding', async () => {
    expect(await ask(model(each))).toEqual({ against: undefined, tried: 7 });
    const rounded: PerRun = (rows) => rows.map((row) => sum(row) * (rows.length > 1 ? 1 + 1e-6 : 1));
    expect((await ask(model(rounded))).against).toBeUndefined();
  });

  it.each<[string, PerRun]>([
    ['what comes before it', (rows) => rows.map((_, i) => sum(rows.slice(0, i + 1).flat()))],
    ['what comes behind it', (rows) => rows.map((_, i) => sum(rows.slice(i).flat()))],
    ['the largest of all', (rows) => rows.map((row) => sum(row) / Math.max(...rows.flat().map(Math.abs)))],
    ['numbers that are none', (rows) => rows.map((row) => (rows.flat().some(Number.isNaN) ? 0 : sum(row)))],
    ['its place', (rows) => rows.map((row, i) => sum(row) + i)],
    ['how many they are', (rows) => rows.map((row) => sum(row) * (rows.length > 2 ? 2 : 1))],
    ['many others', (rows) => rows.map((row) => sum(row) + (rows.length > 7 ? 1 : 0))],
  ])('does not hold where a row is answered by %s', async (_, of) => {
    expect((await ask(model(of))).against).toMatch(/output "y" is another than for the row alone/);
  });

  it('does not hold where the rows of the answer are others, or several fail', async () => {
    expect(
      (
        await ask(
          model((rows) =>
            each(rows)
              .slice(1)
              .concat(rows.length > 1 ? [] : [0]),
          ),
        )
      ).against,
    ).toMatch(/shape \[1\] for 2 rows/);
    const single: PerRun = (rows) => {
      if (rows.length > 1) throw new Error('one at a time');
      return each(rows);
    };
    expect((await ask(model(single))).against).toBe('2 rows at once fail: one at a time');
  });

  it('finds a size that the model takes, and says when there is none', async () => {
    const free: ModelSignature = { ...signature, inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, -1] }] };
    expect((await ask(model(each, { takes: ([width = 0]) => width >= 32 }), free)).against).toBeUndefined();
    expect((await ask(model(each, { takes: () => false }), free)).against).toMatch(
      /takes none of the rows.*not this shape/,
    );
  });

  it('does not take long, and does not say that it holds where it was not tried', async () => {
    const slow = model(each, { runMs: 400 });
    expect(await ask(slow)).toEqual({ against: 'a run takes 400 ms, too long to try it in company', tried: 0 });
    expect(slow.runs()).toBe(2);
    const slowish = model(each, { runMs: 90 });
    expect(await ask(slowish)).toEqual({ against: undefined, tried: expect.any(Number) });
    expect(slowish.runs() * 90).toBeLessThan(1500);
  });
});
