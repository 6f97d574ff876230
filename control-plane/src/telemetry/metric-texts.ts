// Answers of `metrics/query` as text, in pieces: large ones are never whole in memory, and others get their turn in between.
import type { MetricFormat, MetricResult, MetricRow } from '@edgeloop/shared/api/metrics';
import { createBreath } from '@edgeloop/shared/node/breath';

/** Characters of a piece. */
const pieceLength = 65_536;

export const contentTypes = {
  json: 'application/json',
  rows: 'application/json',
  csv: 'text/csv; charset=utf-8; header=present',
} as const satisfies Record<MetricFormat, string>;

/** One metric as a `MetricResult`, several as `MetricResults`; rows as `MetricRows`. */
export function textOf(results: readonly MetricResult[], format: MetricFormat): ReadableStream<Uint8Array> {
  return inPieces(format === 'csv' ? csvOf(results) : format === 'rows' ? rowsOf(results) : jsonOf(results));
}

function* jsonOf(results: readonly MetricResult[]): Generator<string> {
  const [only, ...more] = results;
  if (only !== undefined && more.length === 0) return yield* resultOf(only);
  yield '{"results":[';
  for (const [i, result] of results.entries()) {
    if (i > 0) yield ',';
    yield* resultOf(result);
  }
  yield ']}';
}

function* resultOf({ series, ...head }: MetricResult): Generator<string> {
  yield `${JSON.stringify(head).slice(0, -1)},"series":[`;
  for (const [i, each] of series.entries()) yield (i > 0 ? ',' : '') + JSON.stringify(each);
  yield ']}';
}

function* rowsOf(results: readonly MetricResult[]): Generator<string> {
  yield '{"rows":[';
  let first = true;
  for (const row of eachRow(results)) {
    yield (first ? '' : ',') + JSON.stringify(row);
    first = false;
  }
  yield ']}';
}

/** A row of each value: what has none is left out, as in JSON it is null. */
function* csvOf(results: readonly MetricResult[]): Generator<string> {
  const series = results.flatMap((result) => result.series);
  const groups = [...new Set(series.flatMap(({ labels }) => Object.keys(labels)))];
  const quantiles = series.some(({ quantile }) => quantile !== undefined) ? ['quantile'] : [];
  const compared = series.some(({ compare }) => compare !== undefined) ? ['compare'] : [];
  yield csvLine(['at', 'metric', 'unit', ...groups, ...quantiles, ...compared, 'value']);
  for (const { at, metric, unit, labels, quantile, compare, value } of eachRow(results)) {
    if (value === null) continue;
    const more = [...quantiles.map(() => quantile ?? ''), ...compared.map(() => compare ?? '')];
    yield csvLine([
      new Date(at).toISOString(),
      metric,
      unit,
      ...groups.map((group) => labels[group] ?? ''),
      ...more,
      value,
    ]);
  }
}

function* eachRow(results: readonly MetricResult[]): Generator<MetricRow> {
  for (const { metric, unit, series } of results)
    for (const { points, ...of } of series) for (const point of points) yield { metric, unit, ...of, ...point };
}

/** RFC 4180. What a spreadsheet would take for a formula is text. */
function csvLine(cells: readonly (string | number)[]): string {
  const texts = cells.map((cell) => {
    if (typeof cell === 'number') return String(cell);
    const plain = /^[=+@\t\r]|^-(?!\d)/.test(cell) ? `'${cell}` : cell;
    return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  });
  return `${texts.join(',')}\r\n`;
}

function inPieces(texts: Generator<string>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const breathe = createBreath();
  return new ReadableStream({
    async pull(controller) {
      let piece = '';
      while (piece.length < pieceLength) {
        const { done, value } = texts.next();
        if (done) {
          if (piece !== '') controller.enqueue(encoder.encode(piece));
          controller.close();
          return;
        }
        piece += value;
      }
      await breathe();
      controller.enqueue(encoder.encode(piece));
    },
  });
}
