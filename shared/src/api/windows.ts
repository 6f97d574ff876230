// `GET /metrics/window`: everything that devices say of one version in a range of time, put together.
import { z } from 'zod';
import { ModelName, ModelVersion } from '../identifiers.ts';
import { Window } from '../telemetry.ts';
import { MetricQuery } from './metrics.ts';

/** `from` defaults to an hour before `to`, `to` to now. */
export const WindowQuery = MetricQuery.pick({ device: true, from: true, to: true }).extend({
  model: ModelName,
  version: z.coerce.number().pipe(ModelVersion),
});
export type WindowQuery = z.infer<typeof WindowQuery>;

/** Values of one name; moments and range are null without any. Bins are [from, to), in their order, those without a value left out. */
const Signal = z.object({
  count: z.number(),
  missing: z.number(),
  mean: z.number().nullable(),
  min: z.number().nullable(),
  max: z.number().nullable(),
  bins: z.array(z.object({ from: z.number(), to: z.number(), count: z.number() })),
});

/** `window` is the sum of so many `windows`, null without any; its signals stand beside it. */
export const WindowResult = z.object({
  from: z.number(),
  to: z.number(),
  windows: z.number(),
  window: Window.omit({ signals: true }).nullable(),
  signals: z.record(z.string(), Signal),
});
export type WindowResult = z.infer<typeof WindowResult>;
