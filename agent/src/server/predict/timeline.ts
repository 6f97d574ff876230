// What is said of the windows of a recording, with times: one by one, and neighbours that say the same as segments.
import { z } from 'zod';

export interface Span {
  /** Seconds. */
  start: number;
  end: number;
}

export interface SegmentRules {
  /** Seconds between two segments that make them one. */
  joinWithin?: number | undefined;
  /** Seconds below which a segment is left out, once they are joined. */
  atLeast?: number | undefined;
}

/** What of a window's answer counts. */
const Said = z.object({
  label: z.string().optional(),
  score: z.number().nullish(),
  anomalous: z.boolean().optional(),
  value: z.unknown().optional(),
});

export interface Segment extends Span {
  label?: string;
  /** The highest of its windows. */
  score: number;
}

/** Undefined where windows say nothing that could be the same: no class, no threshold. */
export function segmentsOf(
  windows: readonly (Span & object)[],
  threshold: number | undefined,
  rules: SegmentRules = {},
): Segment[] | undefined {
  const said = windows.map((window) => meaningOf(Said.parse(window), threshold));
  const runs: Run[] = [];
  let key: string | undefined;
  for (const [at, { start, end }] of windows.entries()) {
    const meaning = said[at];
    if (!meaning) return undefined;
    const last = runs.at(-1);
    if (last && meaning.key === key && key !== nothing) extend(last, end, meaning.score);
    else if (meaning.key !== nothing) runs.push({ ...meaning, start, end });
    key = meaning.key;
  }
  const { joinWithin, atLeast = 0 } = rules;
  return (joinWithin === undefined ? runs : joined(runs, joinWithin))
    .filter(({ start, end }) => end - start >= atLeast)
    .map(({ key: _, ...segment }) => segment);
}

/** Windows one after the other that say the same. */
interface Run extends Segment {
  key: string;
}

const nothing = '';

function extend(run: Run, end: number, score: number): void {
  run.end = end;
  run.score = Math.max(run.score, score);
}

/** Runs that say the same with less than this between them are one, and what is between them is part of it. */
function joined(runs: readonly Run[], within: number): Run[] {
  const kept: Run[] = [];
  for (const run of runs) {
    const place = kept.findLastIndex(({ key, end }) => key === run.key && run.start - end < within);
    const former = kept[place];
    if (!former) {
      kept.push({ ...run });
      continue;
    }
    kept.length = place + 1;
    extend(former, run.end, run.score);
  }
  return kept;
}

/** `key`: the same for windows that say the same. */
function meaningOf(
  { label, score, anomalous, value }: z.infer<typeof Said>,
  threshold: number | undefined,
): { key: string; label?: string; score: number } | undefined {
  if (label !== undefined) return { key: `=${label}`, label, score: score ?? Number.NaN };
  if (anomalous !== undefined) return { key: anomalous ? '!' : nothing, score: score ?? Number.NaN };
  if (threshold === undefined || typeof value !== 'number') return undefined;
  return { key: value >= threshold ? '!' : nothing, score: value };
}
