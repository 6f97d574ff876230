// Metrics of what windows hold beside their columns: parts of merged windows, by variant too.
import type { Metric } from '@edgeloop/shared/api/metrics';
import { type QuantileSketch, QuantileSketchBuilder, quantile } from '@edgeloop/shared/sketches/ddsketch';
import { type ShadowWindow, Window } from '@edgeloop/shared/telemetry';
import type { z } from 'zod';
import type { History, PartsShare } from './history.ts';
import { historyQuery, type MetricScope, ratio } from './metric-scope.ts';
import { type Line, type Part, SeriesFold } from './series-fold.ts';

type Read = (history: History, scope: MetricScope) => Promise<Line[]>;

/** How a sum over parts of windows is made, and what is told of it. */
interface Summed<T, A> {
  schema: z.ZodType<T>;
  empty: () => A;
  add: (sum: A, parts: T) => void;
  value: (sum: A, at: number) => number | null;
}

export async function partLines<T, A>(
  history: History,
  scope: MetricScope,
  { schema, empty, add, value }: Summed<T, A>,
): Promise<Line[]> {
  const fold = new SeriesFold(scope, empty);
  await history.parts(historyQuery(scope), schema, (share) => {
    for (const [part, parts] of partsAsked(share, scope)) {
      const sum = fold.at(share, part);
      if (sum !== undefined) add(sum, parts);
    }
  });
  return fold.lines(value);
}

/** A share as a whole, or of each variant when series are told apart by it. */
export function partsAsked<T>({ parts, variants }: PartsShare<T>, { groupBy }: MetricScope): [Part, T][] {
  if (!groupBy.includes('variant')) return [[{}, parts]];
  return Object.entries(variants).map(([variant, own]) => [{ variant }, own]);
}

/** Sums of counts by name, told apart by the name. */
export async function countLines<T>(
  history: History,
  scope: MetricScope,
  { schema, counts, group }: { schema: z.ZodType<T>; counts: (parts: T) => Counts; group: 'class' | 'kind' },
): Promise<Line[]> {
  const fold = new SeriesFold(scope, () => ({ count: 0 }));
  await history.parts(historyQuery(scope), schema, (share) => {
    for (const [part, parts] of partsAsked(share, scope))
      for (const [name, count] of Object.entries(counts(parts))) {
        const sum = count === 0 ? undefined : fold.at(share, { ...part, [group]: name });
        if (sum !== undefined) sum.count += count;
      }
  });
  return fold.lines(({ count }) => count);
}
type Counts = Readonly<Record<string, number>>;

/** A series for each quantile that was asked for. */
export function quantileLines(fold: SeriesFold<QuantileSketchBuilder>, { quantiles }: MetricScope): Line[] {
  return quantiles.flatMap((q) =>
    fold
      .lines((builder) => quantile(builder.toJSON(), q) ?? null)
      .map((line) => (quantiles.length === 1 ? line : { ...line, quantile: q })),
  );
}

function sketched<T>(schema: z.ZodType<T>, sketchOf: (parts: T) => QuantileSketch | undefined): Read {
  return async (history, scope) => {
    const fold = new SeriesFold(scope, () => new QuantileSketchBuilder());
    await history.parts(historyQuery(scope), schema, (share) => {
      for (const [part, parts] of partsAsked(share, scope)) {
        const sketch = sketchOf(parts);
        if (sketch !== undefined) fold.at(share, part)?.merge(sketch);
      }
    });
    return quantileLines(fold, scope);
  };
}

const ShadowOf = Window.pick({ shadow: true });

function shadowSum(of: (shadow: ShadowWindow) => number): Read {
  return shadowRatio(
    (shadow) => [of(shadow), 1],
    (part) => part,
  );
}

function shadowRatio(of: (shadow: ShadowWindow) => [number, number], value = ratio): Read {
  return (history, scope) =>
    partLines(history, scope, {
      schema: ShadowOf,
      empty: () => ({ part: 0, whole: 0 }),
      add(sum, { shadow }) {
        if (shadow === undefined) return;
        const [part, whole] = of(shadow);
        sum.part += part;
        sum.whole += whole;
      },
      // Where no shadow ran there is no number, not 0.
      value: ({ part, whole }) => (whole === 0 ? null : value(part, whole)),
    });
}

type Errors = NonNullable<NonNullable<Window['labelled']>['errors']>;

function errorsRead(value: (errors: Errors) => number): Read {
  return (history, scope) =>
    partLines(history, scope, {
      schema: Window.pick({ labelled: true }),
      empty: () => ({ count: 0, sum: 0, absolute: 0, squared: 0 }),
      add(sum, { labelled }) {
        const {
          count,
          absolute,
          squared,
          sum: signed,
        } = labelled?.errors ?? { count: 0, sum: 0, absolute: 0, squared: 0 };
        sum.count += count;
        sum.sum += signed;
        sum.absolute += absolute;
        sum.squared += squared;
      },
      value: (errors) => (errors.count === 0 ? null : value(errors)),
    });
}

const sumOf = (counts: Counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

export const latencyOf = sketched(Window.pick({ latencyMs: true }), ({ latencyMs }) => latencyMs);

export const partReaders = {
  queue_wait: sketched(Window.pick({ queueMs: true }), ({ queueMs }) => queueMs),
  batch_rows: sketched(Window.pick({ batchRows: true }), ({ batchRows }) => batchRows),
  absolute_error: errorsRead(({ count, absolute }) => absolute / count),
  rms_error: errorsRead(({ count, squared }) => Math.sqrt(squared / count)),
  shadow_compared: shadowSum(({ compared }) => compared),
  shadow_agreement: shadowRatio(({ compared, agreed }) => [agreed, compared]),
  shadow_difference: sketched(ShadowOf, ({ shadow }) => shadow?.difference),
  shadow_latency: sketched(ShadowOf, ({ shadow }) => shadow?.latencyMs),
  shadow_former_latency: sketched(ShadowOf, ({ shadow }) => shadow?.formerMs),
  shadow_failed: (history, scope) =>
    scope.groupBy.includes('kind')
      ? countLines(history, scope, { schema: ShadowOf, counts: ({ shadow }) => shadow?.failed ?? {}, group: 'kind' })
      : shadowSum(({ failed }) => sumOf(failed))(history, scope),
  shadow_skipped: shadowSum(({ skipped }) => skipped),
} as const satisfies Partial<Record<Metric, Read>>;
