// Reads the tensors that the ONNX project's test data keeps as files: one TensorProto each (onnx.proto3).
import type { WireTensor } from '../../support/v2.ts';
import { bytesOfStrings } from '../../support/v2.ts';

/** Names of `TensorProto.DataType` that the protocol has as well. */
const datatypes: Readonly<Record<number, string>> = {
  1: 'FP32',
  2: 'UINT8',
  3: 'INT8',
  4: 'UINT16',
  5: 'INT16',
  6: 'INT32',
  7: 'INT64',
  8: 'BYTES',
  9: 'BOOL',
  10: 'FP16',
  11: 'FP64',
  12: 'UINT32',
  13: 'UINT64',
};

interface Field {
  number: number;
  value: bigint | Uint8Array;
}

/** A tensor file's content. Throws for element types that the protocol does not have. */
export function readTensorProto(file: Uint8Array): WireTensor {
  const fields = [...fieldsOf(file)];
  const dims = fields.filter(({ number }) => number === 1).flatMap(({ value }) => varintsOf(value));
  const typeNumber = Number(fields.find(({ number }) => number === 2)?.value ?? 0n);
  const datatype = datatypes[typeNumber];
  if (datatype === undefined) throw new Error(`element type ${typeNumber} is not in the protocol`);
  const name = fields.find(({ number }) => number === 8)?.value;
  return {
    name: name instanceof Uint8Array ? Buffer.from(name).toString('utf8') : '',
    datatype,
    shape: dims.map(Number),
    bytes: dataOf(fields, datatype),
  };
}

function dataOf(fields: readonly Field[], datatype: string): Uint8Array {
  const raw = fields.find(({ number }) => number === 9)?.value;
  if (raw instanceof Uint8Array) return raw;
  const values = (number: number) => fields.filter((field) => field.number === number).map(({ value }) => value);
  if (datatype === 'BYTES') return bytesOfStrings(values(6).filter((value) => value instanceof Uint8Array));
  const packed = (number: number) => Buffer.concat(values(number).filter((value) => value instanceof Uint8Array));
  if (datatype === 'FP32') return packed(4);
  if (datatype === 'FP64') return packed(10);
  const integers = (number: number) => values(number).flatMap(varintsOf);
  if (datatype === 'INT64') return new Uint8Array(BigInt64Array.from(integers(7)).buffer);
  if (datatype === 'UINT64') return new Uint8Array(BigUint64Array.from(integers(11)).buffer);
  if (datatype === 'UINT32') return new Uint8Array(Uint32Array.from(integers(11).map(Number)).buffer);
  const narrow = integers(5).map((value) => Number(BigInt.asIntN(32, value)));
  if (datatype === 'INT32') return new Uint8Array(Int32Array.from(narrow).buffer);
  if (['FP16', 'UINT16', 'INT16'].includes(datatype)) return new Uint8Array(Uint16Array.from(narrow).buffer);
  return Uint8Array.from(narrow);
}

function varintsOf(value: bigint | Uint8Array): bigint[] {
  if (typeof value === 'bigint') return [value];
  const numbers: bigint[] = [];
  for (let at = 0; at < value.length; ) {
    const { value: number, next } = varint(value, at);
    numbers.push(BigInt.asIntN(64, number));
    at = next;
  }
  return numbers;
}

function varint(bytes: Uint8Array, start: number): { value: bigint; next: number } {
  let value = 0n;
  for (let at = start, shift = 0n; at < bytes.length; at++, shift += 7n) {
    const byte = bytes[at] ?? 0;
    value |= BigInt(byte & 127) << shift;
    if (byte < 128) return { value, next: at + 1 };
  }
  throw new Error('the protobuf ends inside a number');
}

function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  for (let at = 0; at < bytes.length; ) {
    const tag = varint(bytes, at);
    const number = Number(tag.value >> 3n);
    const wireType = Number(tag.value & 7n);
    at = tag.next;
    if (wireType === 0) {
      const read = varint(bytes, at);
      at = read.next;
      yield { number, value: read.value };
      continue;
    }
    const length = wireType === 2 ? varint(bytes, at) : { value: wireType === 5 ? 4n : 8n, next: at };
    const end = length.next + Number(length.value);
    yield { number, value: bytes.subarray(length.next, end) };
    at = end;
  }
}
