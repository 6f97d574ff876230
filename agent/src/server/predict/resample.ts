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

let filter: Float64Array | undefined;

/** As many samples as cover the same time. */
export async function resampled(samples: Float32Array, from: number, to: number): Promise<Float32Array> {
  if (from === to) return samples;
  filter ??= kaiserSinc();
  const table = filter;
  const result = new Float32Array(Math.ceil((samples.length * to) / from));
  const cutoff = rolloff * Math.min(1, to / from);
  const reach = crossings / cutoff;
  const step = cutoff * precision;
  let done = 0;
  for (let i = 0; i < result.length; i++) {
    const at = (i * from) / to;
    const first = Math.max(0, Math.ceil(at - reach));
    const last = Math.min(samples.length - 1, Math.floor(at + reach));
    let sum = 0;
    for (let n = first; n <= last; n++) {
      const place = Math.abs(n - at) * step;
      const below = Math.floor(place);
      const low = table[below] ?? 0;
      sum += (samples[n] ?? 0) * (low + ((table[below + 1] ?? 0) - low) * (place - below));
    }
    result[i] = sum * cutoff;
    done += last - first;
    if (done > slice) {
      done = 0;
      await setImmediate();
    }
  }
  return result;
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
