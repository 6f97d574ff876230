// What came of the rounds: a table with a row per fault, and a file with everything. Pure.
import { faults } from './plan.ts';
import type { RoundResult } from './round.ts';

const columns = ['fault', 'rounds', 'hit', 'violated', 'longest dark', 'answered', 'refused', 'cut', 'failed'] as const;

/** Lines of a table, one per kind of fault that was tried. */
export function tableOf(results: readonly RoundResult[]): string[] {
  const rows = faults.flatMap((fault) => {
    const own = results.filter((result) => result.fault === fault);
    return own.length === 0 ? [] : [rowOf(fault, own)];
  });
  const all = [[...columns], ...rows, rowOf('all', results)];
  const widths = columns.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  return all.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  '),
  );
}

function rowOf(name: string, results: readonly RoundResult[]): string[] {
  const sum = (of: (result: RoundResult) => number) => String(results.reduce((total, result) => total + of(result), 0));
  const missed = (kind: string) => sum((result) => result.missed[kind] ?? 0);
  return [
    name,
    String(results.length),
    sum(({ hit }) => (hit === undefined ? 0 : 1)),
    sum(({ violations }) => (violations.length > 0 ? 1 : 0)),
    `${Math.max(0, ...results.map(({ darkMs }) => darkMs))} ms`,
    sum(({ answered }) => answered),
    missed('refused'),
    missed('cut'),
    sum(({ missed: each }) =>
      Object.entries(each).reduce((total, [kind, count]) => total + (kind.startsWith('status') ? count : 0), 0),
    ),
  ];
}

/** One line of a round that is over, and one for each of its violations. */
export function linesOf({ number, activity, fault, hit, darkMs, seconds, violations }: RoundResult): string[] {
  const isMissed = hit === undefined && fault !== 'none' && violations.length === 0;
  const what = isMissed ? `${fault} (nothing to hit)` : fault;
  const line = `round ${number}: ${activity}, ${what}: ${violations.length === 0 ? 'holds' : 'VIOLATED'}, dark ${darkMs} ms, ${seconds} s`;
  return [line, ...violations.map((each) => `  - ${each.replaceAll('\n', '\n    ')}`)];
}
