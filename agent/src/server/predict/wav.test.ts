import { AppError } from '@edgeloop/shared/errors';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeWav } from './wav.ts';
import { encodeWav, type WavFormat } from './wav-fixture.ts';

const formats: WavFormat[] = [
  { bits: 8, float: false },
  { bits: 16, float: false },
  { bits: 24, float: false },
  { bits: 32, float: false },
  { bits: 32, float: true },
];

describe('WAV files', () => {
  it('give back what was written, within a step of their format, mixed to one channel', () => {
    const sample = fc.double({ min: -1, max: 1 - 2 ** -7, noNaN: true });
    const channels = fc
      .integer({ min: 1, max: 3 })
      .chain((count) => fc.array(fc.array(sample, { minLength: count, maxLength: count }), { maxLength: 20 }));
    fc.assert(
      fc.property(fc.constantFrom(...formats), fc.boolean(), channels, (format, extensible, frames) => {
        const { sampleRate, samples } = decodeWav(encodeWav(frames, { ...format, extensible, sampleRate: 8000 }));
        expect(sampleRate).toBe(8000);
        expect(samples).toHaveLength(frames.length);
        for (const [i, frame] of frames.entries()) {
          const mean = frame.reduce((sum, value) => sum + value, 0) / frame.length;
          expect(Math.abs((samples[i] ?? 9) - mean)).toBeLessThanOrEqual(2 ** (1 - Math.min(format.bits, 23)));
        }
      }),
    );
  });

  it('reads the extremes of each format', () => {
    for (const format of formats.filter(({ float }) => !float)) {
      const [low = 0, zero = 1] = decodeWav(encodeWav([[-1], [0]], { ...format, sampleRate: 8000 })).samples;
      expect([low, zero], `${format.bits} bits`).toEqual([-1, 0]);
    }
  });

  it('steps over chunks that it does not know, padded to even places', () => {
    const plain = encodeWav([[0.5], [-0.5]], { bits: 16, float: false, sampleRate: 16000 });
    const note = Buffer.from('LIST\x03\x00\x00\x00abc\x00', 'latin1');
    const noted = Buffer.concat([plain.subarray(0, 12), note, plain.subarray(12)]);
    expect(decodeWav(noted).samples).toEqual(Float32Array.of(0.5, -0.5));
  });

  it.each([
    ['FFmpeg', 0xffffffff, 0xffffffff],
    ['GStreamer', 0, 0],
    ['a program that counts its header', 36, 0],
    ['SoX', 0x7ffff024, 0x7ffff000],
    ['arecord', 0x80000024, 0x80000000],
    ['one that takes its header off', 0xffffffff, 0xffffffff - 44],
  ])('take streams of unknown length as %s writes them, to the last whole sample', (_, riff, data) => {
    const streamed = Buffer.concat([
      encodeWav([[0.5], [-0.5]], { bits: 16, float: false, sampleRate: 16000 }),
      Buffer.of(1),
    ]);
    streamed.writeUInt32LE(riff, 4);
    streamed.writeUInt32LE(data, 40);
    expect(decodeWav(streamed).samples).toEqual(Float32Array.of(0.5, -0.5));
  });

  it('takes an empty recording for what it is, whatever chunks follow', () => {
    const empty = encodeWav([], { bits: 16, float: false, sampleRate: 16000 });
    const noted = Buffer.concat([empty, Buffer.from('LIST\x04\x00\x00\x00abcd', 'latin1')]);
    noted.writeUInt32LE(noted.length - 8, 4);
    expect(decodeWav(noted).samples).toHaveLength(0);
  });

  it('names what is wrong', () => {
    const good = encodeWav([[0.5], [-0.5]], { bits: 16, float: false, sampleRate: 16000 });
    const changed = (at: number, value: number): Buffer => {
      const copy = Buffer.from(good);
      copy.writeUInt16LE(value, at);
      return copy;
    };
    expect(() => decodeWav(Buffer.from('RIFF'))).toThrow('no RIFF WAVE file');
    expect(() => decodeWav(good.subarray(0, good.length - 1))).toThrow('says 4 bytes, the file has 3');
    expect(() => decodeWav(good.subarray(0, 20))).toThrow('chunk "fmt "');
    expect(() => decodeWav(good.subarray(0, 36))).toThrow('it has no data');
    expect(() => decodeWav(changed(20, 6))).toThrow('format 6 with 16 bits is not read');
    expect(() => decodeWav(changed(22, 0))).toThrow('contradicts itself');
    expect(() => decodeWav(changed(32, 3))).toThrow('contradicts itself');
    expect(() => decodeWav(changed(40, 3))).toThrow('cut short');
  });

  it('answers any bytes with samples or a reason, never a crash', () => {
    const header = encodeWav([], { bits: 16, float: false, sampleRate: 16000 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(44), (noise, keep) => {
        const bytes = Buffer.concat([header.subarray(0, keep), noise]);
        try {
          expect(decodeWav(bytes).sampleRate).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(AppError);
        }
      }),
    );
  });
});
