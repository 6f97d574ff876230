// The arithmetic of fully connected layers: row-major 64-bit arrays, inner loops over neighbouring memory, four sums
// at a time so that the processor need not wait for one addition to end before it starts the next.

/** z = x W^T + b. `weights` holds one row of `inputs` values per output. */
export interface Dense {
  inputs: number;
  outputs: number;
  weights: Float64Array;
  bias: Float64Array;
}

/** Rows that a batch buffer must have for `rows` rows: the loops take them in fours. */
export function paddedRows(rows: number): number {
  return Math.ceil(rows / 4) * 4;
}

/** Writes z (rows x outputs) from x (rows x inputs). */
export function forward({ inputs, outputs, weights, bias }: Dense, x: Float64Array, z: Float64Array, rows: number) {
  for (let row = 0; row < rows; row++) {
    const xAt = row * inputs;
    const zAt = row * outputs;
    let o = 0;
    for (; o + 4 <= outputs; o += 4) {
      const w0 = o * inputs;
      const w1 = w0 + inputs;
      const w2 = w1 + inputs;
      const w3 = w2 + inputs;
      let s0 = bias[o] ?? 0;
      let s1 = bias[o + 1] ?? 0;
      let s2 = bias[o + 2] ?? 0;
      let s3 = bias[o + 3] ?? 0;
      for (let i = 0; i < inputs; i++) {
        const value = x[xAt + i] ?? 0;
        s0 += value * (weights[w0 + i] ?? 0);
        s1 += value * (weights[w1 + i] ?? 0);
        s2 += value * (weights[w2 + i] ?? 0);
        s3 += value * (weights[w3 + i] ?? 0);
      }
      z[zAt + o] = s0;
      z[zAt + o + 1] = s1;
      z[zAt + o + 2] = s2;
      z[zAt + o + 3] = s3;
    }
    for (; o < outputs; o++) {
      let sum = bias[o] ?? 0;
      for (let i = 0; i < inputs; i++) sum += (x[xAt + i] ?? 0) * (weights[o * inputs + i] ?? 0);
      z[zAt + o] = sum;
    }
  }
}

/**
 * Overwrites `gradient` (a layer of the same shape) from x and delta, the loss's derivative by z. Both must have
 * `paddedRows(rows)` rows; delta is set to 0 in those after `rows`.
 */
export function gradients(gradient: Dense, x: Float64Array, delta: Float64Array, rows: number): void {
  const { inputs, outputs, weights, bias } = gradient;
  weights.fill(0);
  bias.fill(0);
  delta.fill(0, rows * outputs, paddedRows(rows) * outputs);
  for (let row = 0; row < rows; row += 4) {
    const x0 = row * inputs;
    const x1 = x0 + inputs;
    const x2 = x1 + inputs;
    const x3 = x2 + inputs;
    for (let o = 0; o < outputs; o++) {
      const at = row * outputs + o;
      const d0 = delta[at] ?? 0;
      const d1 = delta[at + outputs] ?? 0;
      const d2 = delta[at + 2 * outputs] ?? 0;
      const d3 = delta[at + 3 * outputs] ?? 0;
      if (d0 === 0 && d1 === 0 && d2 === 0 && d3 === 0) continue;
      bias[o] = (bias[o] ?? 0) + d0 + d1 + d2 + d3;
      const w = o * inputs;
      for (let i = 0; i < inputs; i++) {
        weights[w + i] =
          (weights[w + i] ?? 0) +
          d0 * (x[x0 + i] ?? 0) +
          d1 * (x[x1 + i] ?? 0) +
          d2 * (x[x2 + i] ?? 0) +
          d3 * (x[x3 + i] ?? 0);
      }
    }
  }
}

/** Writes the loss's derivative by x, where x is the output of a ReLU: 0 where `x` is 0. */
export function backwardThroughRelu(
  { inputs, outputs, weights }: Dense,
  { delta, x, target }: { delta: Float64Array; x: Float64Array; target: Float64Array },
  rows: number,
): void {
  target.fill(0, 0, rows * inputs);
  for (let row = 0; row < rows; row++) {
    const xAt = row * inputs;
    for (let o = 0; o < outputs; o++) {
      const d = delta[row * outputs + o] ?? 0;
      if (d === 0) continue;
      const w = o * inputs;
      for (let i = 0; i < inputs; i++) target[xAt + i] = (target[xAt + i] ?? 0) + d * (weights[w + i] ?? 0);
    }
    for (let i = 0; i < inputs; i++) if ((x[xAt + i] ?? 0) <= 0) target[xAt + i] = 0;
  }
}

export function relu(values: Float64Array, length: number): void {
  for (let i = 0; i < length; i++) if ((values[i] ?? 0) < 0) values[i] = 0;
}

/** Turns each row of `classes` values into shares that sum to 1, in place. */
export function softmax(values: Float64Array, rows: number, classes: number): void {
  for (let at = 0; at < rows * classes; at += classes) {
    let largest = Number.NEGATIVE_INFINITY;
    for (let i = at; i < at + classes; i++) largest = Math.max(largest, values[i] ?? 0);
    let sum = 0;
    for (let i = at; i < at + classes; i++) {
      const power = Math.exp((values[i] ?? 0) - largest);
      values[i] = power;
      sum += power;
    }
    for (let i = at; i < at + classes; i++) values[i] = (values[i] ?? 0) / sum;
  }
}
