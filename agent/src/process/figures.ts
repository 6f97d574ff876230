// What a serving process counts, as it travels to the others: whoever is asked for statistics or metrics answers with the sums of
// all of them.
import { ModelName, ModelVersion } from '@edgeloop/shared/identifiers';
import { z } from 'zod';

const Count = z.number();
const Duration = z.object({ count: Count, ns: Count });
const Run = z.object({ input: Duration, infer: Duration, output: Duration });

/** Requests by how they ended, and how long they took; see `server/observation.ts`. */
const TallyFigures = z.object({
  succeeded: Count,
  failed: Count,
  invalid: Count,
  cancelled: Count,
  expired: Count,
  rejected: Count,
  rows: Count,
  succeededMs: Count,
  failedMs: Count,
  queueMs: Count,
  runMs: Count,
  inputMs: Count,
  outputMs: Count,
  cacheHits: Count,
  cacheHitMs: Count,
  cacheMisses: Count,
  cacheMissMs: Count,
  outcomes: z.record(z.string(), Count),
  latencies: z.array(Count),
});

/** What the engine counts of its runs. */
const RunFigures = z.object({
  executionCount: Count,
  queue: Duration,
  computeInput: Duration,
  computeInfer: Duration,
  computeOutput: Duration,
  /** By the rows in them. */
  batches: z.record(z.string(), Run),
  /** Of a pipeline, in the order of its steps; those that have run. */
  steps: z.array(z.object({ success: Duration, fail: Duration, cut: Count })),
  /** Runs in the thread that answers HTTP. */
  runsHere: Count,
});

export const VersionFigures = z.object({
  model: ModelName,
  version: ModelVersion,
  /** Which bytes: what is counted of others under the same number is not added. */
  of: z.string(),
  tally: TallyFigures,
  runs: RunFigures,
  lastAtMs: z.number(),
  /** Requests that wait for a worker. */
  depth: Count,
});
export type VersionFigures = z.infer<typeof VersionFigures>;

export const Figures = z.object({
  versions: z.array(VersionFigures),
  journal: z.object({ failedWrites: Count, lostRecords: Count, pendingRecords: Count }),
  /** Metrics of the process itself, in Prometheus's text; only for who asks. */
  process: z.string().optional(),
});
export type Figures = z.infer<typeof Figures>;

export function isOfSame(a: VersionFigures, b: VersionFigures): boolean {
  return a.model === b.model && a.version === b.version && a.of === b.of;
}

/** Of the same version. */
export function addedFigures(a: VersionFigures, b: VersionFigures): VersionFigures {
  return {
    ...a,
    tally: TallyFigures.parse(added(a.tally, b.tally)),
    runs: RunFigures.parse(added(a.runs, b.runs)),
    lastAtMs: Math.max(a.lastAtMs, b.lastAtMs),
    depth: a.depth + b.depth,
  };
}

/** `own` versions with what all others counted of them; what no process holds that is asked is left out. */
export function wholeFigures(own: Figures, others: readonly Figures[]): Figures {
  return {
    versions: own.versions.map((version) =>
      others
        .flatMap(({ versions }) => versions.filter((each) => isOfSame(each, version)))
        .reduce(addedFigures, version),
    ),
    journal: others.reduce((sum, { journal }) => addedJournal(sum, journal), own.journal),
  };
}

export function addedJournal(a: Figures['journal'], b: Figures['journal']): Figures['journal'] {
  return {
    failedWrites: a.failedWrites + b.failedWrites,
    lostRecords: a.lostRecords + b.lostRecords,
    pendingRecords: a.pendingRecords + b.pendingRecords,
  };
}

/** Numbers at the same places of two structures of one form; what only one has stays. */
function added(a: unknown, b: unknown): unknown {
  if (typeof a === 'number' && typeof b === 'number') return a + b;
  if (Array.isArray(a) && Array.isArray(b)) {
    const length = Math.max(a.length, b.length);
    return Array.from({ length }, (_, place) => added(a[place], b[place]));
  }
  if (!isRecord(a) || !isRecord(b)) return a ?? b;
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return Object.fromEntries([...keys].map((key) => [key, added(a[key], b[key])]));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
