// Tails and bounds of the normal distribution, of Student's and Fisher's, and the exact tail of a binomial one, for small counts.
import { logGamma } from '../../gates/log-gamma.ts';
import { chiSquareTail } from './chi-square.ts';

/** Probability that a standard normal variable is further from 0 than `z`. */
export function bothTails(z: number): number {
  return chiSquareTail(z * z, 1);
}

/** How far from 0 a standard normal variable is with probability `p`. */
export function boundOfBothTails(p: number): number {
  return p >= 1 ? 0 : -normalQuantile(Math.max(p, Number.MIN_VALUE) / 2 || Number.MIN_VALUE);
}

const middle = {
  over: [
    -3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2, -3.066479806614716e1,
    2.506628277459239,
  ],
  under: [
    -5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1, -1.328068155288572e1, 1,
  ],
};
const tail = {
  over: [
    -7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734, 4.374664141464968,
    2.938163982698783,
  ],
  under: [7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1],
};

/**
 * The value below which a standard normal variable lies with probability `p`, to 1.2e-9 relative (Acklam's rational approximation,
 * "An algorithm for computing the inverse normal cumulative distribution function", 2003).
 */
export function normalQuantile(p: number): number {
  if (p > 0.5) return -normalQuantile(1 - p);
  if (p < 0.02425) {
    const q = Math.sqrt(-2 * Math.log(p));
    return polynomial(tail.over, q) / polynomial(tail.under, q);
  }
  const q = p - 0.5;
  return (q * polynomial(middle.over, q * q)) / polynomial(middle.under, q * q);
}

function polynomial(coefficients: readonly number[], x: number): number {
  return coefficients.reduce((value, coefficient) => value * x + coefficient, 0);
}

/**
 * Probability of at least `successes` in `trials` with probability `share` each, by the regularized incomplete beta function
 * I_share(successes, trials - successes + 1) as a continued fraction (DLMF 8.17.5 and 8.17.22); fractions of counts are fine.
 */
export function binomialTail(successes: number, trials: number, share: number): number {
  if (successes <= 0) return 1;
  if (successes > trials) return 0;
  return incompleteBeta(share, successes, trials - successes + 1);
}

/** Probability that a variable of Student with so many degrees of freedom (any positive number) is further from 0 than `t` (DLMF 8.17). */
export function studentTails(t: number, degrees: number): number {
  if (degrees >= asNormal) return bothTails(t);
  return incompleteBeta(degrees / (degrees + t * t), degrees / 2, 0.5);
}

/** How far from 0 such a variable is with probability `p`, by bisection to 1e-6 relative. */
export function boundOfStudentTails(p: number, degrees: number): number {
  if (p >= 1 || degrees >= asNormal) return boundOfBothTails(p);
  let low = boundOfBothTails(p);
  let high = Math.max(1, 2 * low);
  while (studentTails(high, degrees) > p && high < 1e9) high *= 2;
  while (high - low > 1e-6 * high) {
    const middle = (low + high) / 2;
    if (studentTails(middle, degrees) > p) low = middle;
    else high = middle;
  }
  return high;
}

/** Probability that a chi-square variable of `degrees` exceeds `x` where its unit is itself known with `unitDegrees` only (Fisher's F). */
export function scaledChiSquareTail(x: number, degrees: number, unitDegrees: number): number {
  if (x <= 0) return 1;
  if (unitDegrees >= asNormal) return chiSquareTail(x, degrees);
  return incompleteBeta(unitDegrees / (unitDegrees + x), unitDegrees / 2, degrees / 2);
}

/** Degrees of freedom from which on a variance counts as known. */
const asNormal = 1e6;

function incompleteBeta(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  return front / betaFraction(x, a, b);
}

/** The continued fraction 1 + d1/(1 + d2/(1 + …)), by Lentz's method. */
function betaFraction(x: number, a: number, b: number): number {
  let value = 1;
  let c = 1;
  let d = 0;
  for (let i = 1; i < 10_000; i++) {
    const m = i >> 1;
    const term =
      i % 2 === 0
        ? (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m))
        : (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / awayFromZero(1 + term * d);
    c = awayFromZero(1 + term / c);
    value *= c * d;
    if (Math.abs(c * d - 1) < 1e-14) break;
  }
  return value;
}

function awayFromZero(value: number): number {
  return Math.abs(value) < 1e-300 ? 1e-300 : value;
}
