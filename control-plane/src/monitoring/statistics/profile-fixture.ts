// Seeded samples, their profiles and histograms, for tests of the drift decision.
import type { NumericProfile } from '@edgeloop/shared/profile';
import { addValue, emptyHistogram, type Histogram } from '@edgeloop/shared/sketches/histogram';
import { psi } from '@edgeloop/shared/sketches/psi';

/** Standard normal, by Box and Muller. */
export function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

export function samplesOf(count: number, sample: () => number): number[] {
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

/** 32 quantile bins; with `blockSize` also how consecutive blocks differ from the whole. */
export function profileOf(values: readonly number[], blockSize?: number): NumericProfile {
  const sorted = [...values].sort((a, b) => a - b);
  const quantiles = Array.from({ length: 33 }, (_, i) => sorted[Math.round((i * (sorted.length - 1)) / 32)] ?? 0);
  const edges = [...new Set(quantiles)];
  const { counts } = histogramOf(edges, values);
  if (blockSize === undefined) return { edges, counts };
  const blocks = Array.from({ length: Math.floor(values.length / blockSize) }, (_, i) =>
    psi(counts, histogramOf(edges, values.slice(i * blockSize, (i + 1) * blockSize)).counts),
  );
  const mean = blocks.reduce((sum, value) => sum + value, 0) / blocks.length;
  const variance = blocks.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (blocks.length - 1);
  return { edges, counts, blockPsi: { mean, deviation: Math.sqrt(variance), blockSize } };
}

export function histogramOf(edges: readonly number[], values: readonly number[]): Histogram {
  const histogram = emptyHistogram(edges);
  for (const value of values) addValue(histogram, edges, value);
  return histogram;
}
