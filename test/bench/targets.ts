// The targets that can be read off the throughput table; each is a ratio within one run.
import { median } from './load.ts';
import type { BenchModel } from './models.ts';
import { spread } from './report.ts';
import { type Cell, cellOf, ratios } from './throughput.ts';

export interface Target {
  what: string;
  measured: string;
  met: boolean;
}

export function throughputTargets(cells: readonly Cell[], models: readonly BenchModel[]): Target[] {
  return models.flatMap(({ name }) => [
    ...againstNaive(cells, name),
    ...againstRaw(cells, name),
    ...tails(cells, name),
  ]);
}

/** Met when the median of the rounds is. */
export function atLeast(what: string, values: readonly number[], bound: number): Target {
  return { what: `${what}: at least ${bound}`, measured: spread(values), met: median(values) >= bound };
}

/** Least rate by the naive server's at 1, 8 and 64 callers, JSON and binary alike. */
const leastRates: Readonly<Record<string, readonly [one: number, eight: number, many: number]>> = {
  tiny: [1.6, 3.2, 3.4],
  mnist: [1.8, 2.4, 3],
};
const otherRates = [1, 2.5, 2.5] as const;

function againstNaive(cells: readonly Cell[], model: string): Target[] {
  const least = leastRates[model] ?? otherRates;
  return [1, 8, 64].flatMap((callers, place) => {
    const naive = cellOf(cells, model, 'naive', callers);
    const targets = ['JSON', 'binary'].flatMap((contestant) => {
      const own = cellOf(cells, model, contestant, callers);
      const what = `${model}, ${callers} callers, ${contestant} / naive`;
      const time = ratios(own, naive, 'processorUs');
      const bound = model === 'tiny' && callers === 1 ? 0.5 : 1;
      return [
        atLeast(what, ratios(own, naive), least[place] ?? 1),
        ...(time.length === 0 ? [] : [atMost(`${what}, processor time`, time, bound)]),
      ];
    });
    return targets;
  });
}

/** Met when the median of the rounds is. */
export function atMost(what: string, values: readonly number[], bound: number): Target {
  return { what: `${what}: at most ${bound}`, measured: spread(values), met: median(values) <= bound };
}

function againstRaw(cells: readonly Cell[], model: string): Target[] {
  const one = cellOf(cells, model, 'raw 1', 0);
  const two = cellOf(cells, model, 'raw 2', 0);
  const lone = cellOf(cells, model, 'binary', 1);
  const overMs = median(lone?.p50Ms ?? []) - median(one?.p50Ms ?? []);
  const bound = median(one?.p50Ms ?? []) >= 1 ? 0.95 : 0.4;
  return [
    atLeast(
      `${model}, 64 callers, binary / raw with two workers`,
      ratios(cellOf(cells, model, 'binary', 64), two),
      bound,
    ),
    {
      what: `${model}, one caller, binary: at most 90 us over raw`,
      measured: `${Math.round(overMs * 1000)} us`,
      met: overMs <= 0.09,
    },
  ];
}

function tails(cells: readonly Cell[], model: string): Target[] {
  return ['JSON', 'binary'].map((contestant) => {
    const cell = cellOf(cells, model, contestant, 64);
    const values = (cell?.p99Ms ?? []).map((value, i) => value / (cell?.p50Ms[i] ?? Number.NaN));
    return {
      what: `${model}, 64 callers, ${contestant}, p99 / p50: below 3`,
      measured: spread(values),
      met: median(values) < 3,
    };
  });
}
