// How a device takes a version up, step by step, as far as its reports show it: kept of the devices that a trace shows.
import type { RolloutDevice } from '@edgeloop/shared/api/rollouts';
import { Instant } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import type { DeviceStanding, DeviceView } from './device-state.ts';

/** Instants are by this server's clock. */
export const Activation = z.object({
  /** When it began to fetch, to verify, …, in order. */
  steps: z.array(z.object({ state: z.string(), at: Instant })),
  /** Its report that nothing is to be done any more, or that it failed; null while neither has come. */
  end: z.object({ at: Instant, state: z.string(), detail: z.string() }).nullable(),
});
export type Activation = z.infer<typeof Activation>;

/** Devices of a wave that are traced; beside them, those that fail. */
export const tracedDevices = 100;

/** More reports of one try are of a device that begins again and again. */
const mostSteps = 20;
const failures: readonly RolloutDevice['state'][] = ['failed', 'timed_out'];

/** `step`: what the device says it is at with the version, when it says so. */
export interface Seen {
  view: Pick<DeviceView, 'clockOffsetMs'>;
  standing: Pick<DeviceStanding, 'state' | 'detail'>;
  step: { state: string; since: number } | undefined;
  now: number;
}

export function isFailure(state: string): boolean {
  return failures.some((each) => each === state);
}

/** What is to be kept from now on; the same object when nothing is new. */
export function followActivation(former: Activation | null, seen: Seen): Activation {
  if (former !== null && former.end !== null) return former;
  const { view, standing, step, now } = seen;
  const steps = former?.steps ?? [];
  const isNew = step !== undefined && step.state !== 'failed' && step.state !== steps.at(-1)?.state;
  const next =
    isNew && steps.length < mostSteps ? [...steps, { state: step.state, at: placed(view, step, now) }] : steps;
  const end = hasEnded(seen) ? { at: now, ...outcomeOf(standing) } : null;
  if (former !== null && end === null && next === steps) return former;
  return { steps: next, end };
}

/** It serves past its probation, or runs the version beside its own; or it failed. */
function hasEnded({ standing: { state }, step }: Seen): boolean {
  if (isFailure(state) || state === 'healthy') return true;
  return state === 'baking' && step?.state !== 'probation';
}

/** That it goes on to be judged is the rollout's affair. */
function outcomeOf({ state, detail }: Seen['standing']): { state: string; detail: string } {
  return isFailure(state) ? { state, detail } : { state: 'serving', detail: '' };
}

/** By this server's clock, where the device knows how far its own is off; else when it was seen. */
function placed({ clockOffsetMs }: Seen['view'], { since }: { since: number }, now: number): number {
  return clockOffsetMs === undefined ? now : Math.max(0, Math.min(now, since - clockOffsetMs));
}
