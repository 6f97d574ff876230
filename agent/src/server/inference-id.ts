// Ids of inferences: UUIDs of version 7 (RFC 9562), which sort by time and so lie together in the device's database.
import { randomUUID } from 'node:crypto';

/** `atMs` in milliseconds since 1970. The random part comes from Node, which draws randomness in bulk. */
export function inferenceIdAt(atMs: number): string {
  const time = atMs.toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7${randomUUID().slice(15)}`;
}
