// How often each of several things happens, drawn at once: a window of a thousand requests costs as much as one of ten.
import type { Dice } from './dice.ts';

/** From here on a normal distribution is close enough. */
const largeVariance = 9;

/** Successes among `trials`, each with the chance `share`. */
export function binomial(dice: Dice, trials: number, share: number): number {
  if (trials <= 0 || share <= 0) return 0;
  if (share >= 1) return trials;
  if (share > 0.5) return trials - binomial(dice, trials, 1 - share);
  const variance = trials * share * (1 - share);
  if (variance > largeVariance)
    return bounded(Math.round(trials * share + Math.sqrt(variance) * normal(dice)), 0, trials);
  // From one success to the next, which is as quick as successes are few.
  const logFailure = Math.log1p(-share);
  let successes = 0;
  for (let at = gap(dice, logFailure); at <= trials; at += gap(dice, logFailure)) successes += 1;
  return successes;
}

/** Events of a rate in a stretch in which `mean` are expected. */
export function poisson(dice: Dice, mean: number): number {
  if (mean > largeVariance) return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal(dice)));
  let events = 0;
  for (let left = dice.next(); left > Math.exp(-mean); left *= dice.next()) events += 1;
  return events;
}

/** How many of `total` fall to each weight; their sum is `total`. @throws RangeError when no weight is above 0 */
export function multinomial(dice: Dice, total: number, weights: readonly number[]): number[] {
  let weightLeft = weights.reduce((sum, weight) => sum + weight, 0);
  if (!(weightLeft > 0)) throw new RangeError('no weight is above 0');
  const last = weights.findLastIndex((weight) => weight > 0);
  let left = total;
  return weights.map((weight, i) => {
    const drawn = i === last ? left : binomial(dice, left, weight / weightLeft);
    weightLeft -= weight;
    left -= drawn;
    return drawn;
  });
}

/** Of mean 0 and deviation 1 (Box and Muller). */
export function normal(dice: Dice): number {
  return Math.sqrt(-2 * Math.log(1 - dice.next())) * Math.cos(2 * Math.PI * dice.next());
}

function gap(dice: Dice, logFailure: number): number {
  return Math.floor(Math.log(1 - dice.next()) / logFailure) + 1;
}

function bounded(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
