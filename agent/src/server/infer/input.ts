// One input of an inference request: its name, datatype and shape, and its data where that is part of the JSON.
import { AppError } from '@edgeloop/shared/errors';
import type { TensorData } from '@edgeloop/shared/tensor-data';
import { type Datatype, datatypes } from '@edgeloop/shared/tensors';
import { type Cursor, peek, readArray, readObject, skipValue, unexpected } from './cursor.ts';
import { readData } from './elements.ts';
import { expectArray, expectText, once, type Parameters, readParameters } from './fields.ts';
import { readNumber } from './numbers.ts';

/** The JSON part of an input. Its data is there, or lies behind the JSON with so many bytes, or is missing. */
export interface InputHead {
  name: string;
  datatype: Datatype;
  shape: number[];
  data: TensorData | undefined;
  blobBytes: number | undefined;
}

/** What has been read of it so far. */
interface Draft extends Partial<InputHead> {
  /** Where its data begins, when that came before what says how to read it. */
  dataAt?: number;
}

/** Reads the input that is next, the `place`th of the request. Throws `invalid_request`. */
export function readInput(cursor: Cursor, place: number): InputHead {
  const draft: Draft = {};
  const seen: string[] = [];
  const field = `request.inputs.${place}`;
  if (peek(cursor) !== 0x7b) throw unexpected(cursor, `${field} must be an object`);
  readObject(cursor, (key) => {
    once(seen, key, field);
    readInputField(cursor, key, draft, field);
  });
  const head = whole(draft, field);
  if (draft.dataAt !== undefined) {
    const end = cursor.at;
    cursor.at = draft.dataAt;
    head.data = readData(cursor, head);
    cursor.at = end;
  }
  return head;
}

function readInputField(cursor: Cursor, key: string, draft: Draft, field: string): void {
  const { name, datatype, shape } = draft;
  switch (key) {
    case 'name':
      draft.name = expectText(cursor, `${field}.name`);
      return;
    case 'datatype':
      draft.datatype = datatypeOf(expectText(cursor, `${field}.datatype`), draft, field);
      return;
    case 'shape':
      draft.shape = readShape(cursor, draft.name === undefined ? field : `input "${draft.name}"`);
      return;
    case 'data':
      if (name !== undefined && datatype !== undefined && shape !== undefined) {
        draft.data = readData(cursor, { name, datatype, shape });
      } else {
        peek(cursor);
        draft.dataAt = cursor.at;
        skipValue(cursor);
      }
      return;
    case 'parameters':
      draft.blobBytes = blobBytesOf(readParameters(cursor, `${field}.parameters`), draft, field);
      return;
    default:
      skipValue(cursor);
  }
}

const byText = new Map<string, Datatype>(datatypes.map((datatype) => [datatype, datatype]));

/** Throws `invalid_request` for what is none. */
export function datatypeOf(text: string, { name }: { name?: string }, field: string): Datatype {
  const datatype = byText.get(text);
  if (datatype) return datatype;
  const where = name === undefined ? '' : ` of input "${name}"`;
  if (text === 'BF16') {
    const message = `${field}.datatype${where}: BF16 can't be served, the runtime's binding has no such tensor`;
    throw new AppError('invalid_request', message);
  }
  throw new AppError('invalid_request', `${field}.datatype${where} must be one of ${datatypes.join(', ')}`);
}

export const maxRank = 32;
export const maxDimension = 2 ** 31 - 1;

function readShape(cursor: Cursor, where: string): number[] {
  expectArray(cursor, `${where}: shape`);
  const shape: number[] = [];
  readArray(cursor, () => {
    peek(cursor);
    const dim = readNumber(cursor);
    if (dim === undefined || !Number.isInteger(dim) || dim < 0 || dim > maxDimension) {
      throw new AppError('invalid_request', `${where}: shape must hold integers from 0 to ${maxDimension}`);
    }
    if (shape.push(dim) > maxRank) {
      throw new AppError('invalid_request', `${where}: shape must have at most ${maxRank} dimensions`);
    }
  });
  return shape;
}

function blobBytesOf(parameters: Parameters, { name }: Draft, field: string): number | undefined {
  const where = name === undefined ? field : `input "${name}"`;
  if (parameters.has('shared_memory_region')) {
    throw new AppError('invalid_request', `${where}: shared memory is not supported; send the data itself`);
  }
  const size = parameters.get('binary_data_size');
  if (size === undefined) return undefined;
  if (typeof size === 'number' && Number.isSafeInteger(size) && size >= 0) return size;
  throw new AppError('invalid_request', `${where}: binary_data_size must be a number of bytes`);
}

function whole({ name, datatype, shape, data, blobBytes }: Draft, field: string): InputHead {
  if (name === undefined) throw new AppError('invalid_request', `${field}.name is missing`);
  if (datatype === undefined) throw new AppError('invalid_request', `input "${name}": datatype is missing`);
  if (shape === undefined) throw new AppError('invalid_request', `input "${name}": shape is missing`);
  return { name, datatype, shape, data, blobBytes };
}
