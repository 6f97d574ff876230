// What the process that runs one version over captured rows is asked and answers, and how it is started.
import { fileURLToPath } from 'node:url';
import { parse } from '@edgeloop/shared/errors';
import { Manifest } from '@edgeloop/shared/manifest';
import { runBounded, sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { QuantileSketch } from '@edgeloop/shared/sketches/ddsketch';
import { z } from 'zod';

export const ReplayInput = z.object({
  path: z.string(),
  manifest: Manifest,
  /** File of the rows, float32 one after the other, each as wide as its layout. */
  rows: z.string(),
  layouts: z.array(z.array(z.string())),
  /** The layout of each row, by its place among `layouts`. */
  layoutOf: z.instanceof(Uint16Array),
  /** It stops in front of the next row after so long, and says how far it came. */
  budgetMs: z.number(),
});
export type ReplayInput = z.infer<typeof ReplayInput>;

/** Instead of a place among the classes or of numbers. */
export const noAnswer = { refused: -1, failed: -2, unfit: -3 } as const;

export const Replayed = z.object({
  /** Rows that it came to, in their order. */
  done: z.number().int(),
  kind: z.enum(['classes', 'numbers']),
  classes: z.array(z.string()),
  /** Of each row the place of its class, 0 for numbers, or what stands for no answer. */
  codes: z.instanceof(Int32Array),
  /** Of models that give numbers: their names, the range of each from its 5th to its 95th percentile, and those of all rows. */
  numbers: z
    .object({ values: z.array(z.object({ name: z.string(), range: z.number() })), data: z.instanceof(Float64Array) })
    .nullable(),
  refused: z.number().int(),
  failed: z.number().int(),
  /** The first reason of each. */
  reasons: z.array(z.string()),
  latencyMs: QuantileSketch,
});
export type Replayed = z.infer<typeof Replayed>;

/** `unfit`: why no row can be all that the model is given. `rejected`: why it cannot be loaded. */
export const ReplayAnswer = z.union([
  z.object({ replayed: Replayed }),
  z.object({ unfit: z.string() }),
  z.object({ rejected: z.string() }),
]);
export type ReplayAnswer = z.infer<typeof ReplayAnswer>;

export interface ReplayLimits {
  /** After which it stops in front of the next row. */
  budgetMs: number;
  /** After which it is ended, with all that loading took: a run that does not return. */
  timeoutMs: number;
  maxRssBytes: number;
}

/** `model`: it cannot be run; `server`: by nothing that it did; `request`: it is not for rows of features. */
export type ReplayResult = { replayed: Replayed } | { failure: string; by: 'model' | 'server' | 'request' };

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
const modulePath = fileURLToPath(new URL(`./replay-process.${extension}`, import.meta.url));

export async function replay(
  input: Omit<ReplayInput, 'budgetMs'>,
  { budgetMs, ...bounds }: ReplayLimits,
  signal: AbortSignal,
): Promise<ReplayResult> {
  const result = await runBounded({
    modulePath,
    input: { ...input, budgetMs },
    ...bounds,
    env: { ORT_DISABLE_TELEMETRY: '1' },
    execArgv: sourceExecArgv(import.meta.url),
    signal,
  });
  if (!result.ok) {
    // Ended by an error of ours: what a model throws is an answer.
    const isOurs = result.outside || (result.reason === 'died' && result.signal === null);
    return { failure: `its process ${result.detail}`, by: isOurs ? 'server' : 'model' };
  }
  const answer = parse(ReplayAnswer, result.output, 'replay', 'internal');
  if ('replayed' in answer) return answer;
  return 'unfit' in answer ? { failure: answer.unfit, by: 'request' } : { failure: answer.rejected, by: 'model' };
}
