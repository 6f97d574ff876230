// What a simulated fleet is and what goes wrong with it, as its processes are told.
import { ModelName } from '@edgeloop/shared/identifiers';
import { ReferenceProfile } from '@edgeloop/shared/profile';
import { Labels } from '@edgeloop/shared/selector';
import { z } from 'zod';

const Share = z.number().min(0).max(1);
const Milliseconds = z.number().min(0);

/** Shares are of the devices unless they say otherwise; who is among them is the same for a fleet of the same size. */
export const Faults = z.object({
  /** Of the requests. */
  errorRate: Share,
  /** The features' values move by so many of their standard deviations, from so long after the first window on. */
  drift: z.object({ share: Share, afterMs: Milliseconds, sigmas: z.number() }),
  /** The first feature has no value. */
  deadSensor: Share,
  /** The first feature has always the same value. */
  stuckSensor: Share,
  /** They take ten times as long. */
  slow: Share,
  /** They lose their connection again and again. */
  flapping: Share,
  /** Of the acknowledgements: they do not arrive. */
  lostAcks: Share,
  clock: z.object({ share: Share, offsetMs: z.number() }),
});
export type Faults = z.infer<typeof Faults>;

export const noFaults: Faults = {
  errorRate: 0,
  drift: { share: 0, afterMs: 0, sigmas: 1 },
  ...{ deadSensor: 0, stuckSensor: 0, slow: 0, flapping: 0, lostAcks: 0 },
  clock: { share: 0, offsetMs: 0 },
};

/** The model whose windows the devices send while they should run it. */
export const SimulatedModel = z.object({
  name: ModelName,
  classes: z.array(z.string()),
  reference: ReferenceProfile.optional(),
});
export type SimulatedModel = z.infer<typeof SimulatedModel>;

export const FleetSettings = z.object({
  /** Part of every device's id and label: two fleets do not meet. */
  run: z.string().regex(/^[a-z0-9]{1,20}$/, 'must be 1 to 20 small letters or digits'),
  /** Beside those that each simulated device has. */
  labels: Labels.default({}),
  joinToken: z.string(),
  seed: z.number().int(),
  /** Of a device at noon, before its own pace. */
  requestsPerMinute: z.number().min(0),
  /** How long a day is, with its quiet night. */
  dayMs: z.number().min(1),
  /** From being told what to run to trying it, and from that to having taken it in. */
  activateMs: Milliseconds,
  /** Between two reports of a device that has nothing new to say. */
  reportMs: z.number().min(1),
  /** A device with so many windows that are not acknowledged makes no further one. */
  outboxItems: z.number().int().min(1).optional(),
  model: SimulatedModel,
  faults: Faults,
});
export type FleetSettings = z.infer<typeof FleetSettings>;
