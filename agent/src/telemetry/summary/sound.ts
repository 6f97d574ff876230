// What a recording sounds like, in a few numbers.
import { numbersOf, type Tensor } from '@edgeloop/shared/tensor-data';

/** Pieces of a recording that are looked at, spread over it, and those of them whose spectrum is. */
const mostPieces = 48;
const spectraEvery = 8;
/** Samples of a spectrum, a power of two. */
const spectrumSamples = 512;
const silentBelow = 1e-3;
const clippedFrom = 0.999;
const quietestDb = -100;

/** As `summaryFields.sound` says; undefined for less than one piece of 20 ms. */
export function soundSummary(sampleRate: number, tensor: Tensor): number[] | undefined {
  const samples = numbersOf(tensor);
  const length = Math.max(spectrumSamples, Math.round(sampleRate / 50));
  if (samples === undefined || samples.length < length) return undefined;
  const pieces = Math.min(mostPieces, Math.floor(samples.length / length));
  const sum = { squares: 0, silent: 0, clipped: 0, power: 0, weighted: 0 };
  for (let piece = 0; piece < pieces; piece++) {
    const begin = Math.floor((piece * (samples.length - length)) / Math.max(1, pieces - 1));
    const { squares, clipped } = levelOf(samples, begin, length);
    sum.squares += squares;
    sum.clipped += clipped;
    if (Math.sqrt(squares / length) < silentBelow) sum.silent += 1;
    if (piece % spectraEvery !== 0) continue;
    for (const [bin, power] of powersOf(samples, begin).entries()) {
      sum.power += power;
      sum.weighted += power * bin * (sampleRate / spectrumSamples);
    }
  }
  const looked = pieces * length;
  const loudness = Math.max(quietestDb, 10 * Math.log10(sum.squares / looked));
  // A silent recording has no spectrum.
  const centroid = sum.power > 0 ? sum.weighted / sum.power : Number.NaN;
  return [loudness, sum.silent / pieces, sum.clipped / looked, centroid];
}

function levelOf(samples: ArrayLike<number>, begin: number, length: number): { squares: number; clipped: number } {
  let squares = 0;
  let clipped = 0;
  for (let at = begin; at < begin + length; at++) {
    const sample = samples[at] ?? 0;
    squares += sample * sample;
    if (Math.abs(sample) >= clippedFrom) clipped += 1;
  }
  return { squares, clipped };
}

/** The power of each frequency up to half the rate, of `spectrumSamples` under a Hann window (Cooley and Tukey, 1965). */
function powersOf(samples: ArrayLike<number>, begin: number): Float64Array {
  const n = spectrumSamples;
  const real = new Float64Array(n);
  const imaginary = new Float64Array(n);
  const bits = Math.log2(n);
  for (let at = 0; at < n; at++) {
    let turned = 0;
    for (let bit = 0; bit < bits; bit++) turned |= ((at >> bit) & 1) << (bits - 1 - bit);
    real[turned] = (samples[begin + at] ?? 0) * (0.5 - 0.5 * Math.cos((2 * Math.PI * at) / n));
  }
  for (let size = 2; size <= n; size *= 2) {
    for (let k = 0; k < size / 2; k++) {
      const angle = (-2 * Math.PI * k) / size;
      const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
      for (let at = k; at < n; at += size) {
        const other = at + size / 2;
        const [r, i] = [real[other] ?? 0, imaginary[other] ?? 0];
        const [tr, ti] = [r * cos - i * sin, r * sin + i * cos];
        const [br, bi] = [real[at] ?? 0, imaginary[at] ?? 0];
        real[other] = br - tr;
        imaginary[other] = bi - ti;
        real[at] = br + tr;
        imaginary[at] = bi + ti;
      }
    }
  }
  return Float64Array.from({ length: n / 2 }, (_, at) => (real[at] ?? 0) ** 2 + (imaginary[at] ?? 0) ** 2);
}
