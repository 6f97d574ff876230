// JSON columns of monitoring.
import { Alert } from '@edgeloop/shared/api/alerts';
import { z } from 'zod';

/** Column `detail` of alerts. */
export const AlertDetail = Alert.pick({ summary: true, features: true, scope: true, value: true }).extend({
  /** The word was passed on to whoever acts on a firing alert. */
  handedOver: z.boolean().default(false),
});
export type AlertDetail = z.infer<typeof AlertDetail>;

/** Column `detail` of evaluations. */
export const EvaluationDetail = Alert.pick({ summary: true, features: true, scope: true, value: true }).extend({
  /** What was judged, so that a restart sees what came later: the number of windows, or of labels and right ones. */
  evidence: z.string(),
  /** PSI of every judged signal. */
  psi: z.record(z.string(), z.number()).default({}),
  notMonitorable: z.array(z.string()).default([]),
});
export type EvaluationDetail = z.infer<typeof EvaluationDetail>;

export const verdicts = ['suspicious', 'unsettled', 'calm', 'insufficient'] as const;
export const VerdictText = z.enum(verdicts);
