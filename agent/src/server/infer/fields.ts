// The small fields around the tensors of a request: texts, arrays, parameters, and that none comes twice.
import { AppError } from '@edgeloop/shared/errors';
import { type Cursor, peek, readPiece, readString, skipValue, unexpected } from './cursor.ts';

export type Parameters = Record<string, unknown>;

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
  if (isNull(cursor)) return {};
  if (peek(cursor) !== 0x7b) throw unexpected(cursor, `${field} must be an object`);
  const value = readPiece(cursor, field);
  // Not by a schema: copying the object would lose names such as `__proto__`.
  if (isParameters(value)) return value;
  throw new AppError('invalid_request', `${field} must be an object`);
}

function isParameters(value: unknown): value is Parameters {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
