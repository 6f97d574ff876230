// Whether the next step of a rollout may begin at this moment: the rollout names windows for downloading and for activating, and
// software on the device may say "not now" for a time. Going back to what worked before asks nobody.
import { type MaintenanceWindow, opensAt } from '@edgeloop/shared/maintenance-window';
import { type DesiredModel, type Held, usualMaxHoldSeconds } from '@edgeloop/shared/messages';
import type { PresentHold } from '../../process/ipc.ts';
import type { ModelState, Step } from './model-state.ts';

/** Why `step` has to wait, and until when at most; undefined when it may begin. */
export function heldBack(
  state: ModelState,
  step: Step,
  { hold, nowMs }: { hold: PresentHold | undefined; nowMs: number },
): Held | undefined {
  const order = orderOf(state);
  // What was good here before comes back at once, be it after a failing one or because its file was damaged.
  if (order === undefined || order.release === state.lastGood?.release) return undefined;
  if (step === 'fetch') return closed(order.windows?.fetch, nowMs);
  if (step !== 'prove' && step !== 'load') return undefined;
  return asked(state, order, { hold, nowMs }) ?? closed(order.windows?.activate, nowMs);
}

/** The last word on the candidate: windows may have changed since the attempt began. */
function orderOf({ desired, candidate }: ModelState): DesiredModel | undefined {
  return desired?.release === candidate?.target.release ? (desired ?? undefined) : candidate?.target;
}

function asked(
  { candidate }: ModelState,
  { maxHoldSeconds = usualMaxHoldSeconds }: DesiredModel,
  { hold, nowMs }: { hold: PresentHold | undefined; nowMs: number },
): Held | undefined {
  if (hold === undefined) return undefined;
  const since = candidate?.holdSince ?? nowMs;
  const until = Math.min(hold.untilMs ?? Number.POSITIVE_INFINITY, since + maxHoldSeconds * 1000);
  if (nowMs >= until) return undefined;
  return { by: 'hold', until, message: `software on the device holds it back: ${hold.reason}` };
}

function closed(windows: readonly MaintenanceWindow[] = [], nowMs: number): Held | undefined {
  const until = opensAt(windows, nowMs);
  return until === undefined ? undefined : { by: 'window', until, message: 'it waits for its maintenance window' };
}
