// Standardisation of features. It travels inside the exported graph, so devices feed raw values; everything here is
// rounded to 32 bits exactly where the graph does it, so that both agree.

/**
 * How raw features become inputs of the first layer: missing (NaN) -> `fill`; then the transform; then
 * (x - mean) * scale, limited to +-clip. `constant[i]` is 1 for a feature with one value in training: its weights stay
 * 0, so a value never seen in training cannot sway the model through it.
 */
export interface Scaling {
  transform: 'none' | 'log1p';
  fill: Float32Array;
  mean: Float32Array;
  scale: Float32Array;
  clip: number;
  constant: Uint8Array;
}

/** Means and deviations of the finite values of each column of `rows`, row-major, `featureCount` wide. */
export function fitScaling(
  rows: Float32Array,
  featureCount: number,
  { transform, clip }: { transform: Scaling['transform']; clip: number },
): Scaling {
  const { counts, sums } = columnSums(rows, featureCount, (value) => transformed(value, transform));
  const means = sums.map((sum, i) => sum / Math.max(counts[i] ?? 0, 1));
  const { sums: squares } = columnSums(rows, featureCount, (value, i) => {
    const distance = transformed(value, transform) - (means[i] ?? 0);
    return distance * distance;
  });
  const scale = new Float32Array(featureCount).fill(1);
  const constant = new Uint8Array(featureCount);
  for (const [i, sum] of squares.entries()) {
    const deviation = Math.sqrt(sum / Math.max(counts[i] ?? 0, 1));
    // Below a millionth of the mean, what looks like variation is the rounding of 32-bit floats.
    if (deviation < 1e-30 || deviation <= 1e-6 * Math.abs(means[i] ?? 0)) constant[i] = 1;
    else scale[i] = 1 / deviation;
  }
  const mean = Float32Array.from(means);
  const fill = transform === 'log1p' ? mean.map(Math.expm1) : mean.slice();
  return { transform, fill, mean, scale, clip: Math.fround(clip), constant };
}

function columnSums(rows: Float32Array, featureCount: number, term: (value: number, column: number) => number) {
  const counts = new Float64Array(featureCount);
  const sums = new Float64Array(featureCount);
  for (let start = 0; start < rows.length; start += featureCount) {
    for (let i = 0; i < featureCount; i++) {
      const value = rows[start + i] ?? 0;
      if (!Number.isFinite(value)) continue;
      counts[i] = (counts[i] ?? 0) + 1;
      sums[i] = (sums[i] ?? 0) + term(value, i);
    }
  }
  return { counts, sums };
}

function transformed(value: number, transform: Scaling['transform']): number {
  return transform === 'log1p' ? Math.fround(Math.log(Math.fround(1 + Math.max(value, 0)))) : value;
}

/** Writes the scaled form of row `from` of `rows` as row `to` of `target`. */
export function scaleRow(
  { transform, fill, mean, scale, clip }: Scaling,
  source: { rows: Float32Array; from: number },
  destination: { target: Float64Array; to: number },
): void {
  const { length } = mean;
  const { rows } = source;
  const { target } = destination;
  const read = source.from * length;
  const write = destination.to * length;
  for (let i = 0; i < length; i++) {
    const raw = rows[read + i] ?? 0;
    const value = transformed(Number.isNaN(raw) ? (fill[i] ?? 0) : raw, transform);
    const scaled = Math.fround(Math.fround(value - (mean[i] ?? 0)) * (scale[i] ?? 1));
    target[write + i] = Math.min(Math.max(scaled, -clip), clip);
  }
}
