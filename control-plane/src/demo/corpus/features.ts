// What the model sees of a file: how often each byte occurs, and a few counts. Order inside the file is not looked at,
// as a gateway would do it on the first block of an upload.

/** Only so many bytes from the file's start are looked at. */
export const FEATURE_BYTES = 65_536;

const WORDS: Record<number, string> = {
  0: 'NUL',
  9: 'tab',
  10: 'newline',
  13: 'carriage return',
  32: 'space',
  34: 'double quote',
  39: 'quote',
  44: 'comma',
  92: 'backslash',
  96: 'backtick',
};

const COUNTS = [
  'log2 bytes',
  'log2 mean line bytes',
  'log2 longest line bytes',
  'entropy bits',
  'share of digits',
  'share of upper-case letters',
  'share of lower-case letters',
  'share of printable ASCII',
  'share of non-ASCII bytes',
  'share of white space',
  'share of indented lines',
] as const;

/** Names of the features, in order: `byte 0x7b {` and so on for each byte, then the counts. */
export const featureNames: readonly string[] = [...Array.from({ length: 256 }, (_, byte) => byteName(byte)), ...COUNTS];

/**
 * Features of a file's first `FEATURE_BYTES` bytes: 256 relative frequencies (0 to 1), then the counts, in the order of
 * `featureNames`. An empty file gives zeros.
 */
export function featuresOf(bytes: Uint8Array): Float32Array {
  const seen = bytes.subarray(0, FEATURE_BYTES);
  const features = new Float32Array(featureNames.length);
  if (seen.length === 0) return features;
  const occurrences = new Float64Array(256);
  for (const byte of seen) occurrences[byte] = (occurrences[byte] ?? 0) + 1;
  const shares = occurrences.map((count) => count / seen.length);
  const between = (first: number, last: number): number =>
    shares.subarray(first, last + 1).reduce((sum, share) => sum + share, 0);
  const lines = lineCounts(seen);
  const entropyBits = shares.reduce((sum, share) => (share > 0 ? sum - share * Math.log2(share) : sum), 0);
  features.set(shares);
  const counts: Record<(typeof COUNTS)[number], number> = {
    'log2 bytes': Math.log2(seen.length),
    'log2 mean line bytes': Math.log2(seen.length / lines.lines),
    'log2 longest line bytes': Math.log2(1 + lines.longestBytes),
    'entropy bits': entropyBits,
    'share of digits': between(0x30, 0x39),
    'share of upper-case letters': between(0x41, 0x5a),
    'share of lower-case letters': between(0x61, 0x7a),
    'share of printable ASCII': between(0x20, 0x7e),
    'share of non-ASCII bytes': between(0x80, 0xff),
    'share of white space': between(0x09, 0x0d) + between(0x20, 0x20),
    'share of indented lines': lines.indented / lines.lines,
  };
  features.set(
    COUNTS.map((name) => counts[name]),
    256,
  );
  return features;
}

function lineCounts(bytes: Uint8Array): { lines: number; indented: number; longestBytes: number } {
  const counts = { lines: 0, indented: 0, longestBytes: 0 };
  for (let start = 0; start <= bytes.length; ) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline < 0 ? bytes.length : newline;
    counts.lines += 1;
    counts.indented += Number(bytes[start] === 0x20 || bytes[start] === 0x09);
    counts.longestBytes = Math.max(counts.longestBytes, end - start);
    start = end + 1;
  }
  return counts;
}

function byteName(byte: number): string {
  const hex = `byte 0x${byte.toString(16).padStart(2, '0')}`;
  const shown = WORDS[byte] ?? (byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : undefined);
  return shown === undefined ? hex : `${hex} ${shown}`;
}
