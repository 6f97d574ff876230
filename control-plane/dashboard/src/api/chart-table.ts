// Series of different queries brought onto one time axis. Pure, so that gaps are right for sure.
import type { Series } from '@edgeloop/shared/api/metrics';

/** Seconds since the epoch; one column of values per series: null breaks the line, undefined lets it run on. */
export interface ChartTable {
  times: number[];
  columns: (number | null | undefined)[][];
}

/**
 * Aligns series by time. Devices report in windows, which may be longer than a step: a gap of up to `bridgeSeconds` is
 * drawn through, a longer one is shown as a gap.
 */
export function alignSeries(series: Series[], bridgeSeconds: number): ChartTable {
  const times = [...new Set(series.flatMap((each) => each.points.map((point) => point.at / 1000)))].sort(
    (a, b) => a - b,
  );
  const columns = series.map((each) => {
    const values = new Map(each.points.map((point) => [point.at / 1000, point.value]));
    return bridgeShortGaps(
      times,
      times.map((time) => values.get(time) ?? null),
      bridgeSeconds,
    );
  });
  return { times, columns };
}

/**
 * Rates over the time that they stand for. The API counts a device's window whole in the step in which it began: where
 * windows are longer than steps, a step holds the requests of the empty ones after it too, so its rate is shared with
 * them. Gaps beyond `bridgeSeconds` are pauses and share nothing.
 */
export function spreadRates(series: Series, bridgeSeconds: number): Series {
  const known = series.points.flatMap((point, i) => (point.value === null ? [] : [i]));
  const shares = known.map((at, nth) => stepsUntil(series, at, known[nth + 1], bridgeSeconds));
  const lengths = new Map(known.map((at, nth) => [at, shares[nth] ?? shares[nth - 1] ?? 1]));
  const points = series.points.map(({ at, value }, i) => ({
    at,
    value: value === null ? null : value / (lengths.get(i) ?? 1),
  }));
  return { ...series, points };
}

/** Undefined where nothing follows, or only after a pause. */
function stepsUntil(
  { points }: Series,
  from: number,
  to: number | undefined,
  bridgeSeconds: number,
): number | undefined {
  if (to === undefined) return undefined;
  const seconds = ((points[to]?.at ?? 0) - (points[from]?.at ?? 0)) / 1000;
  return seconds <= bridgeSeconds ? to - from : undefined;
}

function bridgeShortGaps(times: number[], values: (number | null)[], bridgeSeconds: number) {
  const bridged: (number | null | undefined)[] = [...values];
  let before = -1;
  for (let i = 0; i < values.length; i++) {
    if (values[i] === null) continue;
    const short = (times[i] ?? 0) - (times[before] ?? Number.NEGATIVE_INFINITY) <= bridgeSeconds;
    if (before >= 0 && short) bridged.fill(undefined, before + 1, i);
    before = i;
  }
  return bridged;
}
