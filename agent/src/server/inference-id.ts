// Ids of inferences: UUIDs of version 7 (RFC 9562), which sort by time and so lie together in the device's database.
import { randomUUID } from 'node:crypto';

/** Gives a new id; `nowMs` in milliseconds since 1970. The random part comes from Node, which draws it in bulk. */
export type InferenceIds = (nowMs: number) => string;

export function createInferenceIds(): InferenceIds {
  // Many requests fall into one millisecond, and to write it costs more than the rest.
  let writtenMs = Number.NaN;
  let written = '';
  return (nowMs) => {
    if (nowMs !== writtenMs) {
      const time = nowMs.toString(16).padStart(12, '0');
      written = `${time.slice(0, 8)}-${time.slice(8)}-7`;
      writtenMs = nowMs;
    }
    return written + randomUUID().slice(15);
  };
}
