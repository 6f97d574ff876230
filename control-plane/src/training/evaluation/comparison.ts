// Whether a challenger is better than its rival on the same rows: the pairs decide, not the two accuracies.
import { AppError } from '@edgeloop/shared/errors';

/** How many held-out rows each of the two models predicts right. */
export interface PairedCounts {
  both: number;
  challengerOnly: number;
  rivalOnly: number;
  neither: number;
}

export interface PairedGain {
  rows: number;
  challenger: number;
  rival: number;
  /** Accuracy of the challenger minus that of the rival, with the bounds of its confidence interval. */
  gain: { value: number; low: number; high: number };
}

/**
 * Gain of a challenger with a two-sided confidence interval for the difference of paired proportions. Source: R. G.
 * Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired data",
 * Statistics in Medicine 17 (1998), method 10 (score intervals, correlation corrected for continuity).
 */
export function pairedGain({ both, challengerOnly, rivalOnly, neither }: PairedCounts, confidence: number): PairedGain {
  const rows = both + challengerOnly + rivalOnly + neither;
  if (rows === 0) throw new AppError('invalid_request', 'a comparison needs held-out rows');
  const z = normalQuantile((1 + confidence) / 2);
  const [challenger, rival] = [(both + challengerOnly) / rows, (both + rivalOnly) / rows];
  const [first, second] = [wilson(challenger, rows, z), wilson(rival, rows, z)];
  const phi = correlation({ both, challengerOnly, rivalOnly, neither }, rows);
  const spread = (a: number, b: number) => Math.sqrt(Math.max(a ** 2 - 2 * phi * a * b + b ** 2, 0));
  const value = (challengerOnly - rivalOnly) / rows;
  const low = value - spread(challenger - first.low, second.high - rival);
  const high = value + spread(first.high - challenger, rival - second.low);
  return { rows, challenger, rival, gain: { value, low: Math.max(low, -1), high: Math.min(high, 1) } };
}

function correlation({ both, challengerOnly, rivalOnly, neither }: PairedCounts, rows: number): number {
  const scale = (both + challengerOnly) * (rivalOnly + neither) * (both + rivalOnly) * (challengerOnly + neither);
  if (scale === 0) return 0;
  const cross = both * neither - challengerOnly * rivalOnly;
  const corrected = cross > 0 ? Math.max(cross - rows / 2, 0) : cross;
  return corrected / Math.sqrt(scale);
}

/** Score interval of a proportion, of `z` standard deviations. Source: E. B. Wilson, JASA 22 (1927). */
export function wilson(share: number, rows: number, z: number): { low: number; high: number } {
  const centre = share + z ** 2 / (2 * rows);
  const half = z * Math.sqrt((share * (1 - share)) / rows + z ** 2 / (4 * rows ** 2));
  const scale = 1 + z ** 2 / rows;
  return { low: Math.max((centre - half) / scale, 0), high: Math.min((centre + half) / scale, 1) };
}

const centralTop = [
  -3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1,
  2.506628277459239,
];
const centralBottom = [
  -5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1, 1,
];
const tailTop = [
  -7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968,
  2.938163982698783,
];
const tailBottom = [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1];

/** Quantile of the standard normal distribution, 0 < p < 1, relative error below 1.2e-9. Source: P. J. Acklam (2003). */
export function normalQuantile(p: number): number {
  if (p > 0.5) return -normalQuantile(1 - p);
  if (p >= 0.02425) {
    const q = p - 0.5;
    return (q * polynomial(centralTop, q * q)) / polynomial(centralBottom, q * q);
  }
  const q = Math.sqrt(-2 * Math.log(p));
  return polynomial(tailTop, q) / polynomial(tailBottom, q);
}

/** Highest power first. */
function polynomial(coefficients: readonly number[], x: number): number {
  return coefficients.reduce((sum, coefficient) => sum * x + coefficient, 0);
}
