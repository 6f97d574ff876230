// A quantile sketch in few bytes: charts read thousands of them, and JSON costs a hundred times as much.
import type { QuantileSketch, QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';

const headBytes = 24;

/** Little-endian doubles `sum` and `max`, `count` as a double, then varints: zeros, and of each bin its distance and count. */
export function packSketch({ count, sum, max, zeros, bins }: QuantileSketch): Buffer {
  const bytes = Buffer.allocUnsafe(headBytes + 10 * (2 * bins.length + 1));
  bytes.writeDoubleLE(sum, 0);
  bytes.writeDoubleLE(max, 8);
  bytes.writeDoubleLE(count, 16);
  let at = writeVarint(bytes, zeros, headBytes);
  let former = 0;
  for (const [bin, values] of bins) {
    at = writeVarint(bytes, zigzag(bin - former), at);
    at = writeVarint(bytes, values, at);
    former = bin;
  }
  // A copy, since a slice would keep the whole allocation.
  return Buffer.from(bytes.subarray(0, at));
}

export function unpackSketch(bytes: Buffer): QuantileSketch {
  const reader = { bytes, at: headBytes };
  const zeros = readVarint(reader);
  const bins: QuantileSketch['bins'] = [];
  let bin = 0;
  while (reader.at < bytes.length) {
    bin += unzigzag(readVarint(reader));
    bins.push([bin, readVarint(reader)]);
  }
  return { count: bytes.readDoubleLE(16), sum: bytes.readDoubleLE(0), max: bytes.readDoubleLE(8), zeros, bins };
}

export function mergePacked(target: QuantileSketchBuilder, bytes: Buffer): void {
  target.merge(unpackSketch(bytes));
}

function zigzag(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value;
}

function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

/** Arithmetic and not bits, since counts may pass 32 of them. */
function writeVarint(bytes: Buffer, value: number, at: number): number {
  let rest = value;
  while (rest >= 128) {
    bytes[at++] = (rest % 128) + 128;
    rest = Math.floor(rest / 128);
  }
  bytes[at++] = rest;
  return at;
}

function readVarint(reader: { bytes: Buffer; at: number }): number {
  let value = 0;
  let factor = 1;
  for (;;) {
    const byte = reader.bytes[reader.at++];
    if (byte === undefined) throw new RangeError('a packed sketch ends in the middle of a number');
    value += (byte % 128) * factor;
    if (byte < 128) return value;
    factor *= 128;
  }
}
