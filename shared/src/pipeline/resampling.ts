// A part of a picture in another size, as Pillow and ONNX's Resize (`linear`, `antialias`, `exclude_outside`) make it: a triangle over the
// pixels around each point, which widens where the picture shrinks.
import type { Area, Size } from '../meaning/picture-placement.ts';

export interface Pixels extends Size {
  values: ArrayLike<number>;
  channels: number;
  /** From one pixel, row and channel to the next. */
  step: { x: number; y: number; channel: number };
}

/** For each place of the new length: the first place of the old one that counts, and what it and those behind it count. */
interface Tap {
  first: number;
  weights: readonly number[];
}

/** Row by row, channels last. Edges of the area may lie between pixels, within the picture. */
export function resampled(pixels: Pixels, area: Area, { width, height }: Size): Float32Array {
  const across = taps({ start: area.left, length: area.width, whole: pixels.width }, width);
  const down = taps({ start: area.top, length: area.height, whole: pixels.height }, height);
  const top = Math.min(...down.map(({ first }) => first));
  const bottom = Math.max(...down.map(({ first, weights }) => first + weights.length));
  const { values, channels, step } = pixels;
  const rowLength = width * channels;
  const narrow = new Float64Array((bottom - top) * rowLength);
  for (let y = top; y < bottom; y++) {
    for (const [x, { first, weights }] of across.entries()) {
      for (let channel = 0; channel < channels; channel++) {
        const start = y * step.y + first * step.x + channel * step.channel;
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += (weights[i] ?? 0) * (values[start + i * step.x] ?? 0);
        narrow[(y - top) * rowLength + x * channels + channel] = sum;
      }
    }
  }
  const result = new Float32Array(height * rowLength);
  for (const [y, { first, weights }] of down.entries()) {
    for (let at = 0; at < rowLength; at++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++)
        sum += (weights[i] ?? 0) * (narrow[(first - top + i) * rowLength + at] ?? 0);
      result[y * rowLength + at] = sum;
    }
  }
  return result;
}

function taps({ start, length, whole }: { start: number; length: number; whole: number }, into: number): Tap[] {
  const scale = length / into;
  const reach = Math.max(1, scale);
  return Array.from({ length: into }, (_, place) => {
    const centre = start + (place + 0.5) * scale;
    const first = Math.min(whole - 1, Math.max(0, Math.floor(centre - reach)));
    const last = Math.max(first, Math.min(whole - 1, Math.ceil(centre + reach) - 1));
    const weights = Array.from({ length: last - first + 1 }, (_, i) =>
      Math.max(0, 1 - Math.abs((first + i + 0.5 - centre) / reach)),
    );
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return {
      first,
      weights: sum > 0 ? weights.map((weight) => weight / sum) : weights.map((_, i) => (i === 0 ? 1 : 0)),
    };
  });
}
