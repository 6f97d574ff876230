// Bounds that a version must keep on each device, measured there before it answers: a part of what is signed.
import { z } from 'zod';

export const Acceptance = z
  .strictObject({
    /** Bound on a quantile of the duration of single runs. */
    maxLatencyMs: z.number().gt(0).max(3_600_000).optional(),
    quantile: z.number().gt(0).lt(1).default(0.9),
    /** Runs that are measured after warming up, of the golden samples in turn or of a made-up input. */
    runs: z.number().int().min(3).max(1000).default(20),
    /** Bound on the memory by which a process grows that loads and runs it. */
    maxMemoryMb: z.number().gt(0).max(1_048_576).optional(),
  })
  .refine(({ maxLatencyMs, maxMemoryMb }) => maxLatencyMs !== undefined || maxMemoryMb !== undefined, {
    message: 'name a bound: maxLatencyMs, maxMemoryMb or both',
  })
  .refine(({ quantile, runs }) => allowedAbove({ quantile, runs }) >= 1 || quantile <= 0.5, {
    path: ['runs'],
    message: 'are too few for this quantile: at least 1 / (1 - quantile)',
  });
export type Acceptance = z.infer<typeof Acceptance>;

/** How many of the runs may take longer than the bound. */
export function allowedAbove({ quantile, runs }: { quantile: number; runs: number }): number {
  return Math.floor(runs * (1 - quantile) + 1e-9);
}

/** What was measured of a version on a device. */
export const Measured = z.object({
  /** Of single runs, in milliseconds; `quantileMs` is that of the bound. */
  medianMs: z.number(),
  quantileMs: z.number().optional(),
  quantile: z.number().optional(),
  runs: z.number().int(),
  /** By which the process grew; absent where the system does not tell. */
  memoryMb: z.number().optional(),
});
export type Measured = z.infer<typeof Measured>;
