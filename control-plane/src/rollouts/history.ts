// The history of a rollout in words.
import { besideTerms, type Rollout, type RolloutPlan, type RolloutState } from '@edgeloop/shared/api/rollouts';
import type { Decision } from './rollout-state.ts';
import { waveWords } from './waves.ts';

/** What a decision changed, a line each; steps within a wave are left to the state, and giving back to its own words. */
export function describeChange({ state: before, plan }: Rollout, decision: Decision): string[] {
  const { state: after, assign, note } = decision;
  const lines: string[] = [];
  if (isNews(before, after)) lines.push(describeState(after, plan));
  if (assign.length > 0) lines.push(`${givenAs(plan, after)} ${named(assign)}`);
  if (note !== undefined) lines.push(note);
  return lines;
}

function givenAs(plan: RolloutPlan, state: RolloutState): string {
  const how = state.phase === 'running' ? besideTerms(plan.waves[state.wave]) : undefined;
  if (how === undefined) return 'version given to';
  const part = how.mode === 'shadow' ? '' : `${Number((how.share * 100).toFixed(2))} %`;
  return how.mode === 'shadow' ? 'version runs in the shadow on' : `version answers ${part} of requests on`;
}

export function describeState(state: RolloutState, plan: RolloutPlan): string {
  switch (state.phase) {
    case 'awaiting_approval':
      return state.wave === undefined ? 'waits for approval' : `waits for approval of ${waveWords(plan, state.wave)}`;
    case 'running':
      if (state.step === 'backtesting') return 'it is tried on captured samples before any device is told';
      return `${waveWords(plan, state.wave)} begins`;
    case 'paused':
      return `paused: ${state.reason}`;
    case 'completed':
      return 'completed';
    case 'cancelled':
      return `${state.reason}; devices that run the version keep it, no other gets it`;
    case 'superseded':
      return `superseded by the newer rollout ${state.by}`;
    case 'rolling_back':
      return `rolling back: ${state.reason}`;
    case 'rolled_back':
      return 'rolled back';
  }
}

export function isNews(before: RolloutState, after: RolloutState): boolean {
  if (before.phase !== after.phase) return true;
  if (before.phase !== 'running' || after.phase !== 'running') return false;
  return before.wave !== after.wave || (before.step === 'backtesting' && after.step !== 'backtesting');
}

/** Devices in a line of history. */
export function named(ids: readonly string[]): string {
  const shown = ids.slice(0, 20).join(', ');
  return ids.length > 20 ? `${ids.length} devices: ${shown}, …` : shown;
}
