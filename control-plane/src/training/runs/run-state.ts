// The states of a run and what moves it on. Pure: the driver does the work and writes the outcome down.

/** What a run does, in this order. */
export const stages = ['data', 'training', 'evaluation', 'registration', 'release'] as const;
export type Stage = (typeof stages)[number];

export type RunState =
  | { status: 'queued' | 'waiting_for_labels'; stage: 'queued' }
  | { status: 'running'; stage: Stage }
  | { status: 'succeeded' | 'rejected' | 'failed' | 'cancelled'; stage: 'done' };

export type RunEvent =
  /** It is its turn: whether there are as many labels as its pipeline wants. */
  | { kind: 'turn'; enoughLabels: boolean }
  /** `complete`: there is nothing left to do; `rejected`: the challenger did not win. */
  | { kind: 'finished'; stage: Stage; verdict: 'go_on' | 'complete' | 'rejected' }
  /** What training left on disk is gone or damaged. */
  | { kind: 'output_lost' }
  | { kind: 'failed' }
  | { kind: 'cancelled' };

/** The state after the event. An event that does not belong to the state changes nothing, so each may come twice. */
export function next(state: RunState, event: RunEvent): RunState {
  if (hasEnded(state)) return state;
  switch (event.kind) {
    case 'cancelled':
      return { status: 'cancelled', stage: 'done' };
    case 'failed':
      return { status: 'failed', stage: 'done' };
    case 'turn':
      if (state.status === 'running') return state;
      return event.enoughLabels
        ? { status: 'running', stage: 'data' }
        : { status: 'waiting_for_labels', stage: 'queued' };
    case 'output_lost':
      return state.stage === 'evaluation' || state.stage === 'registration'
        ? { status: 'running', stage: 'training' }
        : state;
    case 'finished':
      return state.stage === event.stage ? after(event) : state;
  }
}

export function hasEnded(state: RunState): boolean {
  return state.stage === 'done';
}

function after({ stage, verdict }: { stage: Stage; verdict: 'go_on' | 'complete' | 'rejected' }): RunState {
  if (verdict === 'rejected') return { status: 'rejected', stage: 'done' };
  const following = stages[stages.indexOf(stage) + 1];
  if (verdict === 'complete' || following === undefined) return { status: 'succeeded', stage: 'done' };
  return { status: 'running', stage: following };
}

/** For change events: the stage while it runs, else the status. */
export function wordFor(state: RunState): string {
  return state.status === 'running' ? state.stage : state.status;
}
