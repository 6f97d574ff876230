// Single-precision floats as decimal text. As doubles they print with some 17 digits; nine always give the same float
// back, mostly fewer do, and finding them this way is quicker too.

/** Decimal text, as short as fits, that reads back as the same single-precision float; non-finite ones are quoted names. */
export function singleText(value: number): string {
  if (Number.isInteger(value)) {
    if (value === 0) return Object.is(value, -0) ? '-0.0' : '0';
    return String(value);
  }
  const magnitude = Math.abs(value);
  if (magnitude >= 1e-6 && magnitude < 1e6) {
    for (const scale of magnitude < 0.001 ? smallScales : scales) {
      const rounded = Math.round(value * scale) / scale;
      if (Math.fround(rounded) === value) return String(rounded);
    }
  }
  return Number.isFinite(value) ? String(value) : `"${value}"`;
}

const scales = [1e5, 1e7, 1e9];
const smallScales = [1e10, 1e13];
