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

function againstNaive(cells: readonly Cell[], model: string): Target[] {
  return [8, 64].flatMap((callers) => {
    const naive = cellOf(cells, model, 'naive', callers);
    return [
      atLeast(`${model}, ${callers} callers, JSON / naive`, ratios(cellOf(cells, model, 'JSON', callers), naive), 2.5),
      atLeast(
        `${model}, ${callers} callers, binary / naive`,
        ratios(cellOf(cells, model, 'binary', callers), naive),
        3,
      ),
    ];
  });
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
