// Numbers out of JSON bytes, equal to what JSON.parse would give to the last bit.
import type { Cursor } from './cursor.ts';

/** 10^22 is the largest power of ten that a double holds exactly. */
const powers = Float64Array.from({ length: 23 }, (_, i) => Number(`1e${i}`));
/** Below this, ten times the mantissa and another digit is still exact in a double. */
const roomForDigit = 900719925474099;

/** Where `scanNumber` leaves its number: returned, each would cost an object. */
export const scanned = new Float64Array(1);

/** The number that starts here, or undefined (and no move) when there is none. */
export function readNumber(cursor: Cursor): number | undefined {
  return scanNumber(cursor, false) ? scanned[0] : undefined;
}

/**
 * Puts the number that starts here into `scanned`; false (and no move) when there is none. With `single`, digits that
 * can't change the nearest single-precision float may be left out, which is all that a Float32Array keeps.
 */
export function scanNumber(cursor: Cursor, single: boolean): boolean {
  const { bytes } = cursor;
  const start = cursor.at;
  let at = start;
  let byte = bytes[at] ?? 0;
  const negative = byte === 0x2d;
  if (negative) byte = bytes[++at] ?? 0;
  if (byte < 0x30 || byte > 0x39) return false;
  let mantissa = byte - 0x30;
  let exponent = 0;
  let cut = false;
  byte = bytes[++at] ?? 0;
  if (mantissa !== 0) {
    while (byte >= 0x30 && byte <= 0x39) {
      if (mantissa < roomForDigit) mantissa = mantissa * 10 + (byte - 0x30);
      else {
        exponent++;
        if (byte !== 0x30) cut = true;
      }
      byte = bytes[++at] ?? 0;
    }
  } else if (byte >= 0x30 && byte <= 0x39) return false;
  if (byte === 0x2e) {
    byte = bytes[++at] ?? 0;
    if (byte < 0x30 || byte > 0x39) return false;
    while (byte >= 0x30 && byte <= 0x39) {
      if (mantissa < roomForDigit) {
        mantissa = mantissa * 10 + (byte - 0x30);
        exponent--;
      } else if (byte !== 0x30) cut = true;
      byte = bytes[++at] ?? 0;
    }
  }
  if (byte === 0x65 || byte === 0x45) {
    byte = bytes[++at] ?? 0;
    const below = byte === 0x2d;
    if (below || byte === 0x2b) byte = bytes[++at] ?? 0;
    if (byte < 0x30 || byte > 0x39) return false;
    let power = 0;
    while (byte >= 0x30 && byte <= 0x39) {
      if (power < 100000) power = power * 10 + (byte - 0x30);
      byte = bytes[++at] ?? 0;
    }
    exponent += below ? -power : power;
  }
  cursor.at = at;
  if (exponent === 0 && !cut) scanned[0] = negative ? -mantissa : mantissa;
  else if (!scale(mantissa, exponent, cut, single)) scanned[0] = Number(bytes.toString('latin1', start, at));
  else if (negative) scanned[0] = -(scanned[0] ?? 0);
  return true;
}

/** Mantissa times a power of ten where one correctly rounded operation gives it (Clinger), else false. */
function scale(mantissa: number, exponent: number, cut: boolean, single: boolean): boolean {
  if (exponent < -22 || exponent > 22 || (cut && !single)) return false;
  const power = powers[exponent < 0 ? -exponent : exponent] ?? 1;
  const low = exponent < 0 ? mantissa / power : mantissa * power;
  scanned[0] = low;
  if (!cut) return true;
  // What was cut lies between these two; rounding never reverses an order, so where they agree it agrees.
  const high = exponent < 0 ? (mantissa + 1) / power : (mantissa + 1) * power;
  return Math.fround(low) === Math.fround(high);
}

/**
 * Reads numbers of few digits and without exponent, with commas between, into `data` from `place` on, as long as there
 * are such and at most to `end`. The cursor stays behind the last of them. Most tensors hold nothing else, and one loop
 * reads them twice as quickly as one call each.
 */
export function scanPlainNumbers(
  cursor: Cursor,
  data: Float32Array | Float64Array,
  place: number,
  end: number,
): number {
  const { bytes } = cursor;
  let reached = place;
  for (let at = cursor.at; reached < end; at++) {
    let byte = bytes[at] ?? 0;
    const negative = byte === 0x2d;
    if (negative) byte = bytes[++at] ?? 0;
    const first = byte;
    const start = at;
    let mantissa = 0;
    while (byte >= 0x30 && byte <= 0x39) {
      mantissa = mantissa * 10 + (byte - 0x30);
      byte = bytes[++at] ?? 0;
    }
    const whole = at - start;
    let decimals = 0;
    if (byte === 0x2e) {
      byte = bytes[++at] ?? 0;
      while (byte >= 0x30 && byte <= 0x39) {
        mantissa = mantissa * 10 + (byte - 0x30);
        byte = bytes[++at] ?? 0;
      }
      decimals = at - start - whole - 1;
      if (decimals === 0) break;
    }
    // Anything else is for `scanNumber`: no number, a zero in front, more digits than a double holds, an exponent.
    if (whole === 0 || (first === 0x30 && whole > 1) || whole + decimals > 15 || (byte | 0x20) === 0x65) break;
    const value = mantissa / (powers[decimals] ?? 1);
    data[reached++] = negative ? -value : value;
    cursor.at = at;
    if (byte !== 0x2c) break;
  }
  return reached;
}

/** The text of the number that starts here; call it after `readNumber` moved from `start`. */
export function textFrom(cursor: Cursor, start: number): string {
  return cursor.bytes.toString('latin1', start, cursor.at);
}
