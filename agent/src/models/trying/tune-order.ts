// What the measuring process is asked; apart from the one who asks, which needs a database.
import { z } from 'zod';
import { ModelFiles } from '../../process/ipc.ts';

/** A proven model to measure on at most `threads` threads, within the time and the memory. */
export const TuneOrder = z.object({
  model: ModelFiles,
  threads: z.number().int(),
  budgetMs: z.number(),
  maxRssBytes: z.number(),
});
export type TuneOrder = z.infer<typeof TuneOrder>;
