// Single-precision floats as decimal text. As doubles they print with some 17 digits; nine always give the same float
// back, mostly fewer do, and to write those few digits as bytes is several times quicker than to make a string of each.

/**
 * All values with commas between, each as `singleText`. Many come as the bytes of the text: a long string would be
 * flattened, measured and copied again on its way to the caller.
 */
export function singlesText(values: ArrayLike<number>): string | Buffer {
  if (values.length <= chunk) return scratch.toString('latin1', 0, writeSingles(scratch, 0, values, 0, values.length));
  let bytes = Buffer.allocUnsafe(values.length * usual + chunk * longest);
  let at = 0;
  for (let from = 0; from < values.length; from += chunk) {
    if (bytes.length - at < chunk * longest) bytes = Buffer.concat([bytes], bytes.length * 2);
    at = writeSingles(bytes, at, values, from, Math.min(values.length, from + chunk));
  }
  return bytes.subarray(0, at);
}

function writeSingles(bytes: Buffer, start: number, values: ArrayLike<number>, from: number, to: number): number {
  let at = start;
  for (let i = from; i < to; i++) {
    if (i > 0) bytes[at++] = comma;
    at = writeSingle(bytes, at, values[i] ?? 0);
  }
  return at;
}

/** Decimal text, short where that is easy, that reads back as the same single-precision float; non-finite ones are quoted names. */
export function singleText(value: number): string {
  return scratch.toString('latin1', 0, writeSingle(scratch, 0, value));
}

const [zero, comma, minus, point, exponent] = [0x30, 0x2c, 0x2d, 0x2e, 0x65];
/** A sign, 17 digits, a point, an exponent of five, and the comma. */
const longest = 25;
/** What most take with the comma. */
const usual = 12;
const chunk = 1024;
const scratch = Buffer.allocUnsafe(chunk * longest);
/** 10^22 is the largest power of ten that a double holds exactly. */
const powers = Float64Array.from({ length: 23 }, (_, i) => Number(`1e${i}`));
/** Nine digits of this have 22 decimals. */
const smallest = 1e-13;
/** A value with more is written as digits and an exponent. */
const mostDecimals = 14;
const largestInt = 2 ** 31 - 1;

/** Where `decimal` leaves the value: digits, and how many of them are decimals. */
let digits = 0;
let decimals = 0;

function writeSingle(bytes: Buffer, start: number, value: number): number {
  if (value === 0 || !decimal(Math.abs(value))) return start + bytes.write(plainText(value), start, 'latin1');
  let at = start;
  if (value < 0) bytes[at++] = minus;
  if (decimals > mostDecimals) {
    at = writeInteger(bytes, at, digits, countOf(digits));
    bytes[at++] = exponent;
    bytes[at++] = minus;
    return writeInteger(bytes, at, decimals, 2);
  }
  const whole = Math.floor(digits / (powers[decimals] ?? 1)) | 0;
  at = writeInteger(bytes, at, whole, countOf(whole));
  if (decimals === 0) return at;
  bytes[at++] = point;
  return writeInteger(bytes, at, digits - whole * (powers[decimals] ?? 1), decimals);
}

/** So many digits, with zeros in front. */
function writeInteger(bytes: Buffer, at: number, value: number, count: number): number {
  let rest = value | 0;
  for (let place = at + count - 1; place >= at; place--) {
    const next = (rest / 10) | 0;
    bytes[place] = zero + (rest - next * 10);
    rest = next;
  }
  return at + count;
}

/**
 * The shortest of 7, 8 or 9 digits that round to the same float, without trailing zeros; false for what is better written
 * otherwise. Digits and power of ten are exact doubles, so their quotient is what a reader of the text gets (Clinger 1990).
 */
function decimal(value: number): boolean {
  if (value <= largestInt && Number.isInteger(value)) {
    digits = value | 0;
    decimals = 0;
    return true;
  }
  if (!(value >= smallest && value < 2 ** 24)) return false;
  const first = placesFor(value);
  for (let places = first; places <= first + 2; places++) {
    const power = powers[places] ?? 1;
    const rounded = Math.round(value * power);
    if (Math.fround(rounded / power) !== value || rounded > largestInt) continue;
    digits = rounded | 0;
    decimals = places;
    while (decimals > 0 && digits % 10 === 0) {
      digits = (digits / 10) | 0;
      decimals--;
    }
    return true;
  }
  return false;
}

/** Decimals that make seven digits of it: 7 for 0.1 and more, 8 for 0.01 and more. */
function placesFor(value: number): number {
  let places = 7;
  if (value < 0.1) for (let bound = 0.1; value < bound; bound /= 10) places++;
  else for (let bound = 1; value >= bound && places > 0; bound *= 10) places--;
  return places;
}

function countOf(value: number): number {
  let count = 1;
  for (let bound = 10; value >= bound; bound *= 10) count++;
  return count;
}

function plainText(value: number): string {
  if (value === 0) return Object.is(value, -0) ? '-0.0' : '0';
  return Number.isFinite(value) ? String(value) : `"${value}"`;
}
