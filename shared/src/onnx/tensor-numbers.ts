// The numbers of a small tensor in an ONNX file, whichever of its ways to write them it took.
import { elementCount } from '../tensor-data.ts';
import { dataTypes } from './data-types.ts';

/** A tensor as its fields say it. */
export interface TensorParts {
  name: string;
  dims: number[];
  dataType: number;
  /** Fields with data, by their number in TensorProto. */
  data: { id: number; bytes: Uint8Array; value: number }[];
  /** Its data are many, or in another file. */
  unread: boolean;
}

const valuesAtMost = 1024;
const rawData = 9;

type Reader = (view: DataView, at: number) => number;
/** How an element lies in `raw_data`: bytes, and how to read it. */
const raw = new Map<number, readonly [number, Reader]>([
  [dataTypes.float, [4, (view, at) => view.getFloat32(at, true)]],
  [dataTypes.double, [8, (view, at) => view.getFloat64(at, true)]],
  [dataTypes.bool, [1, (view, at) => view.getUint8(at)]],
  [dataTypes.uint8, [1, (view, at) => view.getUint8(at)]],
  [dataTypes.int8, [1, (view, at) => view.getInt8(at)]],
  [dataTypes.uint16, [2, (view, at) => view.getUint16(at, true)]],
  [dataTypes.int16, [2, (view, at) => view.getInt16(at, true)]],
  [dataTypes.uint32, [4, (view, at) => view.getUint32(at, true)]],
  [dataTypes.int32, [4, (view, at) => view.getInt32(at, true)]],
  [dataTypes.uint64, [8, (view, at) => Number(view.getBigUint64(at, true))]],
  [dataTypes.int64, [8, (view, at) => Number(view.getBigInt64(at, true))]],
]);

/** The field of its own that a data type has, where varints or floats stand one by one. */
const listFields = new Map<number, number>([
  [dataTypes.float, 4],
  [dataTypes.double, 10],
  [dataTypes.int64, 7],
  [dataTypes.uint64, 11],
  [dataTypes.uint32, 11],
  [dataTypes.bool, 5],
  [dataTypes.uint8, 5],
  [dataTypes.int8, 5],
  [dataTypes.uint16, 5],
  [dataTypes.int16, 5],
  [dataTypes.int32, 5],
]);

/** Undefined when it is not small, not in the file, not of numbers, or doesn't fill its shape. */
export function numbersOf({ dims, dataType, data, unread }: TensorParts): number[] | undefined {
  const count = elementCount(dims);
  if (unread || count > valuesAtMost) return undefined;
  const lastRaw = data.findLast(({ id }) => id === rawData)?.bytes;
  const values = lastRaw ? fromRaw(dataType, lastRaw) : fromList(dataType, data);
  return values?.length === count ? values : undefined;
}

function fromRaw(dataType: number, bytes: Uint8Array): number[] | undefined {
  const [size, read] = raw.get(dataType) ?? [];
  if (size === undefined || read === undefined) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.length / size) }, (_, i) => read(view, i * size));
}

function fromList(dataType: number, data: TensorParts['data']): number[] | undefined {
  const field = listFields.get(dataType);
  if (field === undefined) return undefined;
  const floats = dataType === dataTypes.float || dataType === dataTypes.double;
  return data
    .filter(({ id }) => id === field)
    .flatMap(({ bytes, value }) => {
      if (floats) return fromRaw(dataType, bytes) ?? [];
      return bytes.length === 0 ? [value] : varints(bytes);
    });
}

function varints(bytes: Uint8Array): number[] {
  const values: number[] = [];
  let value = 0n;
  let shift = 0n;
  for (const byte of bytes) {
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte >= 0x80) continue;
    values.push(Number(BigInt.asIntN(64, value)));
    value = 0n;
    shift = 0n;
  }
  return values;
}
