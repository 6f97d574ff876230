// The small fields around the tensors of a request: texts, arrays, parameters, and that none comes twice.
import { AppError } from '@edgeloop/shared/errors';
import { type Cursor, peek, readObject, readPiece, readString, skipValue, unexpected } from './cursor.ts';
import { readNumber } from './numbers.ts';

/** By name; names are only names, `__proto__` among them. */
export type Parameters = ReadonlyMap<string, unknown>;

export const noParameters: Parameters = new Map();

/** Readers disagree about which of two counts, so neither does. `seen` holds those of one object so far. */
export function once(seen: string[], key: string, where: string): void {
  if (seen.includes(key)) throw new AppError('invalid_request', `${where}.${key} is given twice`);
  if (known.has(key)) seen.push(key);
}

const known = new Set(['id', 'parameters', 'inputs', 'outputs', 'name', 'datatype', 'shape', 'data']);

export function expectArray(cursor: Cursor, field: string): void {
  if (peek(cursor) !== 0x5b) throw unexpected(cursor, `${field} must be an array`);
}

/** KServe's client writes null for what is not given. */
export function isNull(cursor: Cursor): boolean {
  if (peek(cursor) !== 0x6e) return false;
  skipValue(cursor);
  return true;
}

export function expectText(cursor: Cursor, field: string): string {
  if (peek(cursor) !== 0x22) throw unexpected(cursor, `${field} must be a string`);
  return readString(cursor);
}

export function readParameters(cursor: Cursor, field: string): Parameters {
  if (isNull(cursor)) return noParameters;
  if (peek(cursor) !== 0x7b) throw unexpected(cursor, `${field} must be an object`);
  const parameters = new Map<string, unknown>();
  readObject(cursor, (key) => void parameters.set(key, readValue(cursor, field)));
  return parameters;
}

/** Most parameters are numbers and texts, which need no JSON.parse. */
function readValue(cursor: Cursor, field: string): unknown {
  if (peek(cursor) === 0x22) return readString(cursor);
  return readNumber(cursor) ?? readPiece(cursor, field);
}
