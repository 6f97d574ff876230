// Ids of inferences: UUIDs of version 7 (RFC 9562), which sort by time and so lie together in the device's database.
import { randomFillSync } from 'node:crypto';

/** Gives a new id; `nowMs` in milliseconds since 1970. */
export type InferenceIds = (nowMs: number) => string;

/** Random parts are drawn and written for so many ids at once: one by one, that takes as long as writing a small answer. */
const drawn = 128;
const randomBytes = 10;

export function createInferenceIds(): InferenceIds {
  const random = Buffer.alloc(drawn * randomBytes);
  let digits = '';
  let next = drawn;
  // Many requests fall into one millisecond, and to write it costs more than the rest.
  let writtenMs = Number.NaN;
  let written = '';

  const draw = (): void => {
    randomFillSync(random);
    // The variant: the first two bits of the third byte are 10.
    for (let at = 2; at < random.length; at += randomBytes) random[at] = ((random[at] ?? 0) & 0x3f) | 0x80;
    digits = random.toString('hex');
    next = 0;
  };

  return (nowMs) => {
    if (nowMs !== writtenMs) {
      const time = nowMs.toString(16).padStart(12, '0');
      written = `${time.slice(0, 8)}-${time.slice(8)}-7`;
      writtenMs = nowMs;
    }
    if (next === drawn) draw();
    const at = next++ * randomBytes * 2;
    return `${written}${digits.slice(at + 1, at + 4)}-${digits.slice(at + 4, at + 8)}-${digits.slice(at + 8, at + 20)}`;
  };
}
