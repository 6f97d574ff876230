// Shapes of the API that only the training room's routes know.
import { RunStatus, TrainerSpec } from '@edgeloop/shared/api/training';
import { z } from 'zod';

/** One attempt of a run at a choice of parameters. */
export const Trial = z.object({
  /** From 1. */
  number: z.number().int(),
  status: RunStatus,
  trainer: TrainerSpec,
  seed: z.number().int(),
  metrics: z.record(z.string(), z.number()),
});
export type Trial = z.infer<typeof Trial>;
