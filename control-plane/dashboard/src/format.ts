// Numbers and times as people read them.
const units = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Bytes in decimal units, for example `1.4 MB`. */
export function formatBytes(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${formatNumber(bytes / 1000 ** power)} ${units[power]}`;
}

/** About three significant digits, without an exponent where a person would not write one. */
export function formatNumber(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 1e9)) return value.toExponential(1);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toLocaleString('en', { maximumFractionDigits: digits });
}

/** A share, 0 to 1, as percent. */
export function formatShare(share: number): string {
  const percent = share * 100;
  const digits = percent !== 0 && Math.abs(percent) < 1 ? 2 : 1;
  return `${percent.toLocaleString('en', { maximumFractionDigits: digits })} %`;
}

/** A difference of shares in percentage points, with its sign. */
export function formatPoints(difference: number): string {
  const points = (difference * 100).toLocaleString('en', { maximumFractionDigits: 1, signDisplay: 'exceptZero' });
  return `${points} ${points === '+1' || points === '-1' ? 'point' : 'points'}`;
}

export function formatMilliseconds(ms: number): string {
  return ms >= 1000 ? `${formatNumber(ms / 1000)} s` : `${formatNumber(ms)} ms`;
}

/** A length of time in its two greatest units, for example `2 min 5 s`. */
export function formatDuration(seconds: number): string {
  const steps: [string, number][] = [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ];
  const whole = Math.max(0, Math.round(seconds));
  const first = steps.findIndex(([, size]) => whole >= size);
  if (first === -1) return '0 s';
  let rest = whole;
  const parts = steps.slice(first, first + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count === 0 ? '' : `${count} ${unit}`;
  });
  return parts.filter((part) => part !== '').join(' ');
}

/** How long ago, in one unit; `in …` for what is to come. Clocks of devices may be ahead by a little. */
export function formatAge(at: number, now: number): string {
  const seconds = (now - at) / 1000;
  if (Math.abs(seconds) < 5) return 'now';
  const size = Math.abs(seconds);
  const text =
    size < 60
      ? `${Math.round(size)} s`
      : size < 3600
        ? `${Math.round(size / 60)} min`
        : size < 86_400
          ? `${Math.round(size / 3600)} h`
          : `${Math.round(size / 86_400)} d`;
  return seconds < 0 ? `in ${text}` : `${text} ago`;
}

/** Local date and time to the second. */
export function formatInstant(at: number): string {
  return new Date(at).toLocaleString('sv-SE');
}

/** A word of the API for people: `rolling_back` becomes `rolling back`. */
export function words(code: string): string {
  return code.replaceAll('_', ' ');
}
