// Server-sent events of `GET /events`: something changed; read it again for the whole.
import { z } from 'zod';
import { Instant } from '../identifiers.ts';

export const eventTypes = ['device', 'model', 'rollout', 'alert', 'run', 'telemetry'] as const;
export const ChangeEvent = z.object({
  type: z.enum(eventTypes),
  /** What changed: a device id, model name, rollout id, … */
  id: z.string(),
  at: Instant,
  /** Its state in a word, for example `online` or `running`. */
  state: z.string(),
});
export type ChangeEvent = z.infer<typeof ChangeEvent>;
