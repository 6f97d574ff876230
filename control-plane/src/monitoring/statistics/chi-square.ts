// Tail of the chi-square and gamma distributions, which the drift decision needs far out (p below 1e-5), where the
// usual normal approximations are off by factors.
import { logGamma } from '../../gates/log-gamma.ts';

/**
 * Regularized upper incomplete gamma function Q(a, x) for a > 0: by its power series below a + 1 and by Lentz's
 * evaluation of the continued fraction above (DLMF 8.11.4 and 8.9.2; Press et al., "Numerical Recipes", section 6.2).
 */
export function upperGamma(a: number, x: number): number {
  if (x <= 0) return 1;
  const scale = Math.exp(a * Math.log(x) - x - logGamma(a));
  return x < a + 1 ? Math.max(0, 1 - scale * lowerSeries(a, x)) : scale * upperFraction(a, x);
}

function lowerSeries(a: number, x: number): number {
  let term = 1 / a;
  let sum = term;
  for (let n = 1; n < 10_000 && term > sum * 1e-16; n++) {
    term *= x / (a + n);
    sum += term;
  }
  return sum;
}

function upperFraction(a: number, x: number): number {
  const tiny = 1e-300;
  let b = x + 1 - a;
  let c = 1 / tiny;
  let d = 1 / b;
  let result = d;
  for (let n = 1; n < 10_000; n++) {
    const an = -n * (n - a);
    b += 2;
    d = 1 / nonZero(an * d + b, tiny);
    c = nonZero(b + an / c, tiny);
    const factor = c * d;
    result *= factor;
    if (Math.abs(factor - 1) < 1e-15) break;
  }
  return result;
}

function nonZero(value: number, tiny: number): number {
  return Math.abs(value) < tiny ? tiny : value;
}

/** Probability that a chi-square variable with `degrees` (any positive number) of freedom exceeds `x`. */
export function chiSquareTail(x: number, degrees: number): number {
  return upperGamma(degrees / 2, x / 2);
}

/** The value that a chi-square variable exceeds with probability `tail` (0 to 1), by bisection to 1e-7 relative. */
export function chiSquareBound(tail: number, degrees: number): number {
  if (tail >= 1) return 0;
  let low = 0;
  let high = Math.max(1, degrees);
  while (chiSquareTail(high, degrees) > tail && high < 1e9) high *= 2;
  while (high - low > 1e-7 * high) {
    const middle = (low + high) / 2;
    if (chiSquareTail(middle, degrees) > tail) low = middle;
    else high = middle;
  }
  return high;
}
