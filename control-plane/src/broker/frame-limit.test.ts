import fc from 'fast-check';
import { expect, it } from 'vitest';
import { createFrameLimit } from './frame-limit.ts';

/** A packet with a body of so many bytes, its length in MQTT's variable form. */
function packet(bodyBytes: number): Buffer {
  const header = [0x30];
  let rest = bodyBytes;
  do {
    header.push((rest % 128) | (rest >= 128 ? 0x80 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.concat([Buffer.from(header), Buffer.alloc(bodyBytes, 0xff)]);
}

const limit = 1000;

it('passes packets within the limit, however the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(limit)), fc.integer({ min: 1, max: 50 }), (sizes, cut) => {
      const stream = Buffer.concat(sizes.map(packet));
      const within = createFrameLimit(limit);
      for (let at = 0; at < stream.length; at += cut) expect(within(stream.subarray(at, at + cut))).toBe(true);
    }),
  );
});

it('refuses at the header of the first packet above the limit, and from then on', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(limit)), fc.integer({ min: limit + 1, max: 200_000_000 }), (sizes, tooLarge) => {
      const within = createFrameLimit(limit);
      for (const size of sizes) expect(within(packet(size))).toBe(true);
      const header = packet(0).subarray(0, 1);
      const length = [];
      for (let rest = tooLarge; rest > 0; rest = Math.floor(rest / 128))
        length.push((rest % 128) | (rest >= 128 ? 0x80 : 0));
      expect(within(Buffer.concat([header, Buffer.from(length)]))).toBe(false);
      expect(within(packet(1))).toBe(false);
    }),
  );
});

it('refuses a length of more than four bytes', () => {
  expect(createFrameLimit(2 ** 30)(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01]))).toBe(false);
});
