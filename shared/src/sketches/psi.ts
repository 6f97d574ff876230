// Population stability index between two histograms of the same bins, as people know it from credit scoring
// (Siddiqi, "Credit Risk Scorecards", 2006), with smoothing so that an empty bin never makes it infinite.

/** Counts added to each bin of both sides: Jeffreys' prior for a multinomial. */
const prior = 0.5;

/**
 * Sum over bins of (q - p) ln(q / p), where p and q are the shares of `reference` and `counts`, each bin smoothed by
 * half a count. Bins empty on both sides say nothing and are left out. At least 0; 0 when either side is empty as a
 * whole. Without drift it is about (bins - 1) (1/n + 1/N), so judge it with the sample sizes in mind.
 * Throws RangeError when the bins differ in number.
 */
export function psi(reference: readonly number[], counts: readonly number[]): number {
  if (reference.length !== counts.length)
    throw new RangeError(`histograms of ${reference.length} and ${counts.length} bins cannot be compared`);
  let bins = 0;
  let referenceTotal = 0;
  let total = 0;
  for (const [i, expected] of reference.entries()) {
    const seen = counts[i] ?? 0;
    if (expected + seen > 0) bins += 1;
    referenceTotal += expected;
    total += seen;
  }
  if (referenceTotal === 0 || total === 0) return 0;
  let sum = 0;
  for (const [i, expected] of reference.entries()) {
    const seen = counts[i] ?? 0;
    if (expected + seen === 0) continue;
    const p = (expected + prior) / (referenceTotal + prior * bins);
    const q = (seen + prior) / (total + prior * bins);
    sum += (q - p) * Math.log(q / p);
  }
  return sum;
}
