// Whether a row of an answer that several rows share is what the row alone got.
import { type NamedTensor, numbersOf } from '@edgeloop/shared/tensor-data';

/** What joining may change of a float, relative to the largest of its row: sums are made in another order. */
const tolerances: Readonly<Record<string, number>> = { FP16: 1e-2, FP32: 1e-4, FP64: 1e-6 };

/** What is different, or undefined. `at` is the place of the row in `joined`, which has `rows` of them. */
export function rowDifference(
  alone: readonly NamedTensor[],
  joined: readonly NamedTensor[],
  { at, rows }: { at: number; rows: number },
): string | undefined {
  for (const [place, own] of alone.entries()) {
    const all = joined[place];
    if (own.shape[0] !== 1) return `output "${own.name}" gives ${own.shape[0] ?? 'no'} rows for one`;
    if (all?.shape.join() !== [rows, ...own.shape.slice(1)].join())
      return `output "${own.name}" has shape [${all?.shape}] for ${rows} rows`;
    const width = own.data.length;
    if (!isSame(own, all, at * width)) return `output "${own.name}" is another than for the row alone`;
  }
  return undefined;
}

function isSame(own: NamedTensor, all: NamedTensor, from: number): boolean {
  const tolerance = tolerances[own.datatype];
  const [mine, others] = tolerance === undefined ? [] : [numbersOf(own), numbersOf(all)];
  if (tolerance === undefined || !mine || !others) return sameElements(own.data, all.data, from);
  let largest = 0;
  for (let i = 0; i < mine.length; i++) {
    const size = Math.abs(mine[i] ?? 0);
    if (size > largest && size < Number.POSITIVE_INFINITY) largest = size;
  }
  const bound = largest * tolerance;
  for (let i = 0; i < mine.length; i++) {
    const [a, b] = [mine[i] ?? 0, others[from + i] ?? 0];
    if (!Object.is(a, b) && !(a === b) && !(Math.abs(a - b) <= bound)) return false;
  }
  return true;
}

function sameElements(own: NamedTensor['data'], all: NamedTensor['data'], from: number): boolean {
  for (let i = 0; i < own.length; i++) if (own[i] !== all[from + i]) return false;
  return true;
}
