// The binary tensor extension: little-endian elements behind the JSON of a request or an answer, in the order of the
// tensors. See "Binary Tensor Data" of Triton's protocol extensions.
import { isUtf8 } from 'node:buffer';
import { AppError } from '@edgeloop/shared/errors';
import { elementCount, type NamedTensor, type TensorData } from '@edgeloop/shared/tensor-data';
import type { Datatype } from '@edgeloop/shared/tensors';
import { bytesOf, viewOf } from '../../inference/typed-arrays.ts';

/** The elements in `blob`: a view of it where its place in memory allows, else a copy. Throws `invalid_request`. */
export function decodeBlob(
  { name, datatype, shape }: { name: string; datatype: Datatype; shape: readonly number[] },
  blob: Buffer,
): TensorData {
  const count = elementCount(shape);
  if (datatype === 'BYTES') return decodeStrings(name, blob, count);
  const needed = count * bytesOf[datatype];
  if (blob.length !== needed) {
    const message = `input "${name}": binary_data_size is ${blob.length}, but shape [${shape}] of ${datatype} needs ${needed}`;
    throw new AppError('invalid_request', message);
  }
  const wrong = datatype === 'BOOL' ? blob.findIndex((byte) => byte > 1) : -1;
  if (wrong >= 0) throw new AppError('invalid_request', `input "${name}": element ${wrong} of BOOL must be 0 or 1`);
  const { buffer, byteOffset } = aligned(blob, bytesOf[datatype]);
  return viewOf(datatype, buffer, byteOffset, count);
}

function aligned(blob: Buffer, width: number): Uint8Array {
  return blob.byteOffset % width === 0 ? blob : new Uint8Array(blob);
}

function decodeStrings(name: string, blob: Buffer, count: number): string[] {
  const texts: string[] = [];
  let at = 0;
  while (at < blob.length) {
    const end = at + 4 <= blob.length ? at + 4 + blob.readUInt32LE(at) : Number.POSITIVE_INFINITY;
    if (end > blob.length) throw new AppError('invalid_request', `input "${name}": element ${texts.length} is cut off`);
    texts.push(decodeText(name, blob.subarray(at + 4, end), texts.length));
    at = end;
    if (texts.length > count) break;
  }
  if (texts.length === count) return texts;
  const given = texts.length > count ? 'more' : texts.length;
  throw new AppError('invalid_request', `input "${name}": binary data has ${given} elements, the shape needs ${count}`);
}

/** One element of BYTES. ONNX strings go through the binding as text that ends at NUL, so others would be damaged. */
export function decodeText(name: string, bytes: Buffer, place: number): string {
  if (!isUtf8(bytes)) {
    throw new AppError(
      'invalid_request',
      `input "${name}": element ${place} must be UTF-8; other bytes can't be served`,
    );
  }
  if (bytes.includes(0)) {
    throw new AppError('invalid_request', `input "${name}": element ${place} must be a string without NUL characters`);
  }
  return bytes.toString('utf8');
}

/** The elements of an answer as bytes; numbers are not copied. */
export function encodeBlob({ data }: NamedTensor): Buffer {
  if (!Array.isArray(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return Buffer.concat(
    data.flatMap((text) => {
      const bytes = Buffer.from(text);
      const length = Buffer.allocUnsafe(4);
      length.writeUInt32LE(bytes.length);
      return [length, bytes];
    }),
  );
}
