import { describe, expect, it } from 'vitest';
import { resampled } from './resample.ts';

const tone = (hertz: number, rate: number, length: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => Math.sin((2 * Math.PI * hertz * i) / rate));

/** The largest difference, but at the ends, where there is nothing before and behind. */
function difference(a: Float32Array, b: Float32Array): number {
  const margin = Math.ceil(a.length / 10);
  return a
    .subarray(margin, -margin)
    .reduce((most, value, i) => Math.max(most, Math.abs(value - (b[margin + i] ?? 9))), 0);
}

describe('resampling', () => {
  it.each([
    [44_100, 16_000],
    [48_000, 16_000],
    [8000, 16_000],
    [11_025, 16_000],
    [22_050, 44_100],
    [44_100, 15_999],
    [16_000, 15_000],
  ])('keeps tones from %i to %i samples a second', async (from, to) => {
    for (const hertz of [50, 440, 0.4 * Math.min(from, to)]) {
      const there = await resampled(tone(hertz, from, from / 2), from, to);
      expect(there).toHaveLength(Math.ceil((to * Math.floor(from / 2)) / from));
      expect(difference(there, tone(hertz, to, there.length)), `${hertz} Hz`).toBeLessThan(1e-3);
    }
  });

  it.each([
    [44_100, 16_000, 9000],
    [48_000, 8000, 4800],
    [16_000, 8000, 7000],
  ])('leaves out what the lower rate has no place for: %i to %i, %i Hz', async (from, to, hertz) => {
    const there = await resampled(tone(hertz, from, from / 2), from, to);
    expect(difference(there, new Float32Array(there.length))).toBeLessThan(1e-3);
  });

  it('keeps a constant, and leaves the same rate alone', async () => {
    const level = new Float32Array(4000).fill(0.5);
    expect(difference(await resampled(level, 44_100, 16_000), new Float32Array(2000).fill(0.5))).toBeLessThan(1e-4);
    expect(await resampled(level, 8000, 8000)).toBe(level);
    expect(await resampled(new Float32Array(0), 8000, 16_000)).toHaveLength(0);
  });
});
