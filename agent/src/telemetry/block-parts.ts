// What blocks of many small rows have in common: names once, and bytes of the same place in all rows side by side, which is what a
// compression can use. Pure.
import { deflateRawSync, inflateRawSync } from 'node:zlib';

/** The first bytes of all rows, then the second ones, and so on. */
export function planesOf(rows: Buffer, width: number): Buffer {
  const count = rows.length / width;
  const planes = Buffer.allocUnsafe(rows.length);
  for (let row = 0; row < count; row++)
    for (let place = 0; place < width; place++) planes[place * count + row] = rows[row * width + place] ?? 0;
  return planes;
}

/** The rows again. */
export function rowsOf(planes: Buffer, width: number): Buffer {
  const count = planes.length / width;
  const rows = Buffer.allocUnsafe(planes.length);
  for (let row = 0; row < count; row++)
    for (let place = 0; place < width; place++) rows[row * width + place] = planes[place * count + row] ?? 0;
  return rows;
}

/** A value as JSON, compressed. */
export function deflated(value: unknown): Buffer {
  return deflateRawSync(JSON.stringify(value));
}

/** A head as JSON and bytes behind it, compressed. */
export function packed(head: unknown, columns: readonly Buffer[]): Buffer {
  const text = Buffer.from(JSON.stringify(head));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(text.length);
  return deflateRawSync(Buffer.concat([length, text, ...columns]));
}

export function unpacked(block: Uint8Array): { head: unknown; rest: Buffer } {
  const bytes = inflateRawSync(block);
  const end = 4 + bytes.readUInt32LE();
  return { head: JSON.parse(bytes.toString('utf8', 4, end)), rest: bytes.subarray(end) };
}

/** Names in the order in which they came. */
export function createNames<T>() {
  const all: T[] = [];
  const places = new Map<string, number>();
  return {
    all,
    placeOf(name: T): number {
      const key = JSON.stringify(name);
      const known = places.get(key);
      if (known !== undefined) return known;
      places.set(key, all.length);
      return all.push(name) - 1;
    },
  };
}
