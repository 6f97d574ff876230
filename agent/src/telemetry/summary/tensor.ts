// A few numbers that stand for any tensor.
import { numbersOf, type Tensor } from '@edgeloop/shared/tensor-data';

/** Elements that are looked at; a prime, so that they don't all stand in one channel or column. */
const mostElements = 4093;

/** As `summaryFields.tensor` says; undefined for texts and for a tensor without elements. */
export function tensorSummary(tensor: Tensor): number[] | undefined {
  const values = numbersOf(tensor);
  if (values === undefined || values.length === 0) return undefined;
  const looked = Math.min(values.length, mostElements);
  const step = values.length / looked;
  const seen = { count: 0, finite: 0, zeros: 0, nan: 0, sum: 0, low: Number.POSITIVE_INFINITY, high: -Infinity };
  for (let at = 0; at < looked; at++) {
    const value = values[Math.floor(at * step)] ?? Number.NaN;
    seen.count += 1;
    if (Number.isNaN(value)) seen.nan += 1;
    if (!Number.isFinite(value)) continue;
    seen.finite += 1;
    if (value === 0) seen.zeros += 1;
    seen.sum += value;
    if (value < seen.low) seen.low = value;
    if (value > seen.high) seen.high = value;
  }
  const { count, finite, zeros, nan, low, high } = seen;
  const mean = seen.sum / finite;
  const deviation = deviationOf(values, looked, mean) / finite;
  const shares = [zeros / count, nan / count, (count - finite - nan) / count];
  return [mean, Math.sqrt(deviation), ...shares, low, high, values.length];
}

/** Sum of squares of what is finite around its mean. */
function deviationOf(values: ArrayLike<number>, looked: number, mean: number): number {
  const step = values.length / looked;
  let sum = 0;
  for (let at = 0; at < looked; at++) {
    const value = values[Math.floor(at * step)] ?? Number.NaN;
    if (Number.isFinite(value)) sum += (value - mean) ** 2;
  }
  return sum;
}
