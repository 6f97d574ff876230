// Reads JSON as bytes, one value after the other, so that a tensor's data goes straight into its typed array instead of
// through an array of numbers. Small or odd pieces are cut out and left to JSON.parse.
import { AppError } from '@edgeloop/shared/errors';

/** A place in JSON bytes. Every reader moves `at` behind what it read. */
export interface Cursor {
  readonly bytes: Buffer;
  at: number;
}

/** Deeper nesting than anything of the protocol has is refused before it costs memory. */
const maxDepth = 64;

const quote = 0x22;
const backslash = 0x5c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const comma = 0x2c;
const colon = 0x3a;

/** The byte that is next, behind white space; 0 at the end. */
export function peek(cursor: Cursor): number {
  const { bytes } = cursor;
  let { at } = cursor;
  let byte = bytes[at] ?? 0;
  while (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) byte = bytes[++at] ?? 0;
  cursor.at = at;
  return byte;
}

/** Throws `invalid_request` with the place. */
function expectByte(cursor: Cursor, byte: number): void {
  if (peek(cursor) !== byte) throw syntaxError(cursor, `expected "${String.fromCharCode(byte)}"`);
  cursor.at++;
}

export function syntaxError({ bytes, at }: Cursor, problem: string): AppError {
  const where = at >= bytes.length ? 'at its end' : `at byte ${at}`;
  return new AppError('invalid_request', `request is not valid JSON: ${problem} ${where}`);
}

/** `problem` with what is next, or that the JSON is cut off there. */
export function unexpected(cursor: Cursor, problem: string): AppError {
  if (cursor.at >= cursor.bytes.length) return syntaxError(cursor, 'it is cut off');
  return new AppError('invalid_request', problem);
}

/** A string. Throws `invalid_request` when there is none. */
export function readString(cursor: Cursor): string {
  if (peek(cursor) !== quote) throw syntaxError(cursor, 'expected a string');
  const start = cursor.at;
  const plain = skipString(cursor);
  if (plain === 'ascii') return cursor.bytes.toString('latin1', start + 1, cursor.at - 1);
  if (plain === 'utf8') return cursor.bytes.toString('utf8', start + 1, cursor.at - 1);
  return unescaped(cursor, start);
}

function unescaped(cursor: Cursor, start: number): string {
  try {
    return String(JSON.parse(cursor.bytes.toString('utf8', start, cursor.at)));
  } catch (cause) {
    throw new AppError('invalid_request', `request is not valid JSON: a bad escape in a string at byte ${start}`, {
      cause,
    });
  }
}

/** Moves behind a string that starts here and says what it takes to read it. */
function skipString(cursor: Cursor): 'ascii' | 'utf8' | 'escaped' {
  const { bytes } = cursor;
  const end = bytes.length;
  let kind: 'ascii' | 'utf8' | 'escaped' = 'ascii';
  for (let at = cursor.at + 1; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === quote) {
      cursor.at = at + 1;
      return kind;
    }
    if (byte === backslash) {
      kind = 'escaped';
      at++;
    } else if (byte > 0x7f) {
      if (kind === 'ascii') kind = 'utf8';
    } else if (byte < 0x20) {
      cursor.at = at;
      throw syntaxError(cursor, 'a control character in a string');
    }
  }
  cursor.at = end;
  throw syntaxError(cursor, 'a string without end');
}

/** Moves behind the value that is next, checking that it is JSON. */
export function skipValue(cursor: Cursor, depth = 0): void {
  if (depth > maxDepth) throw tooDeep();
  const byte = peek(cursor);
  if (byte === quote) {
    const start = cursor.at;
    if (skipString(cursor) === 'escaped') unescaped(cursor, start);
  } else if (byte === openBrace) {
    readObject(cursor, () => skipValue(cursor, depth + 1));
  } else if (byte === openBracket) {
    readArray(cursor, () => skipValue(cursor, depth + 1));
  } else {
    skipToken(cursor);
  }
}

export function tooDeep(): AppError {
  return new AppError('invalid_request', `request is nested deeper than ${maxDepth} levels`);
}

/** A number, true, false or null. */
function skipToken(cursor: Cursor): void {
  const start = cursor.at;
  let at = start;
  while (isTokenByte(cursor.bytes[at] ?? 0)) at++;
  const text = cursor.bytes.toString('latin1', start, Math.min(at, start + 1000));
  if (!/^(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)$/.test(text)) {
    throw syntaxError(cursor, 'expected a value');
  }
  cursor.at = at;
}

function isTokenByte(byte: number): boolean {
  const letter = byte | 0x20;
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    byte === 0x2d ||
    byte === 0x2b ||
    byte === 0x2e ||
    (letter >= 0x61 && letter <= 0x7a)
  );
}

/** Reads an object; `onKey` must read the value. */
export function readObject(cursor: Cursor, onKey: (key: string) => void): void {
  expectByte(cursor, openBrace);
  if (peek(cursor) === closeBrace) {
    cursor.at++;
    return;
  }
  for (;;) {
    const key = readString(cursor);
    expectByte(cursor, colon);
    onKey(key);
    if (peek(cursor) === closeBrace) break;
    expectByte(cursor, comma);
  }
  cursor.at++;
}

/** Reads an array; `onElement` must read the element. */
export function readArray(cursor: Cursor, onElement: (place: number) => void): void {
  expectByte(cursor, openBracket);
  if (peek(cursor) === closeBracket) {
    cursor.at++;
    return;
  }
  for (let place = 0; ; place++) {
    onElement(place);
    if (peek(cursor) === closeBracket) break;
    expectByte(cursor, comma);
  }
  cursor.at++;
}

/** Largest piece that is cut out for JSON.parse. */
const maxPieceBytes = 1024 * 1024;

/** The value that is next, by JSON.parse: for what is small and seldom. */
export function readPiece(cursor: Cursor, field: string): unknown {
  peek(cursor);
  const start = cursor.at;
  skipValue(cursor);
  if (cursor.at - start > maxPieceBytes) {
    throw new AppError('invalid_request', `${field} is larger than ${maxPieceBytes} bytes`);
  }
  return JSON.parse(cursor.bytes.toString('utf8', start, cursor.at));
}
