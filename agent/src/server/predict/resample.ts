// Recordings at another rate: band-limited interpolation with a windowed sinc, after J. O. Smith, "Digital Audio Resampling
// Home Page" (CCRMA, Stanford), as resampy and librosa do it. What is above half of the lower rate is filtered out.
import { setImmediate } from 'node:timers/promises';

/** Zero crossings of the sinc on each side. */
const crossings = 32;
/** Values of the filter between two crossings; in between it is interpolated. */
const precision = 512;
/** Kaiser's parameter for 90 dB, and how much of the band is kept for that. */
const beta = 9;
const rolloff = 0.92;
/** Multiplications before others may have the thread: some milliseconds. */
const slice = 1 << 21;

/** Of so many places between two samples the weights are kept; the usual rates have at most 441. */
const maxKept = 2048;

/** As many samples as cover the same time. */
export async function resampled(samples: Float32Array, from: number, to: number): Promise<Float32Array> {
  if (from === to) return samples;
  const [up, down] = [to / greatestDivisor(from, to), from / greatestDivisor(from, to)];
  const result = new Float32Array(Math.ceil((samples.length * up) / down));
  const weightsOf = weighing(from, to);
  const kept: Float64Array[] = [];
  let done = 0;
  for (let i = 0; i < result.length; i++) {
    const phase = (i * down) % up;
    const weights = kept[phase] ?? weightsOf(phase / up);
    if (up <= maxKept) kept[phase] = weights;
    const start = (i * down - phase) / up - weights.length / 2 + 1;
    const last = Math.min(weights.length, samples.length - start);
    let sum = 0;
    for (let n = Math.max(0, -start); n < last; n++) sum += (samples[start + n] ?? 0) * (weights[n] ?? 0);
    result[i] = sum;
    done += weights.length;
    if (done > slice) {
      done = 0;
      await setImmediate();
    }
  }
  return result;
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

let filter: Float64Array | undefined;

/** What the samples around a place between two of them count for it; the place is from 0 to 1. */
function weighing(from: number, to: number): (place: number) => Float64Array {
  filter ??= kaiserSinc();
  const table = filter;
  const cutoff = rolloff * Math.min(1, to / from);
  const reach = Math.ceil(crossings / cutoff);
  return (place) =>
    Float64Array.from({ length: 2 * reach }, (_, n) => {
      const at = Math.abs(n - reach + 1 - place) * cutoff * precision;
      const below = Math.floor(at);
      const low = table[below] ?? 0;
      return cutoff * (low + ((table[below + 1] ?? 0) - low) * (at - below));
    });
}

/** One side of the filter. */
function kaiserSinc(): Float64Array {
  return Float64Array.from({ length: crossings * precision + 1 }, (_, i) => {
    const x = i / precision;
    const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
    return (sinc * besselI0(beta * Math.sqrt(1 - (x / crossings) ** 2))) / besselI0(beta);
  });
}

/** The modified Bessel function of the first kind, of order 0, by its power series. */
function besselI0(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; term > sum * 1e-16; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
