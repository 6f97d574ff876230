// Seeded samples, their profiles and histograms, for tests of the drift decision.
import type { NumericProfile } from '@edgeloop/shared/profile';
import { addValue, emptyHistogram, type Histogram } from '@edgeloop/shared/sketches/histogram';
import { numericProfile } from '../../training/trainers/profile.ts';

/** Standard normal, by Box and Muller. */
export function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

export function samplesOf<T>(count: number, sample: () => T): T[] {
  return Array.from({ length: count }, sample);
}

/** Follows its own past with weight `memory`: normal with variance 1, as real sensors are. */
export function autocorrelated(random: () => number, memory: number): () => number {
  let value = normal(random);
  return () => {
    value = memory * value + Math.sqrt(1 - memory ** 2) * normal(random);
    return value;
  };
}

/** As the trainers make it; with `blockSize` the values count as consecutive. */
export function profileOf(values: readonly number[], blockSize?: number): NumericProfile {
  return numericProfile(values, blockSize === undefined ? {} : { blockSize });
}

export function histogramOf(edges: readonly number[], values: readonly number[]): Histogram {
  const histogram = emptyHistogram(edges);
  for (const value of values) addValue(histogram, edges, value);
  return histogram;
}
