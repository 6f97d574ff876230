import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hasEnded, next, type RunEvent, type RunState, stages } from './run-state.ts';

const queued: RunState = { status: 'queued', stage: 'queued' };
const anyEvent: fc.Arbitrary<RunEvent> = fc.oneof(
  fc.boolean().map((enoughLabels): RunEvent => ({ kind: 'turn', enoughLabels })),
  fc
    .record({ stage: fc.constantFrom(...stages), verdict: fc.constantFrom('go_on', 'complete', 'rejected') })
    .map(({ stage, verdict }): RunEvent => ({ kind: 'finished', stage, verdict })),
  fc.constantFrom<RunEvent>({ kind: 'output_lost' }, { kind: 'failed' }, { kind: 'cancelled' }),
);
const order = (state: RunState) => ['queued', ...stages, 'done'].indexOf(state.stage);

function play(events: readonly RunEvent[], from: RunState = queued): RunState[] {
  const states = [from];
  for (const event of events) states.push(next(states.at(-1) ?? from, event));
  return states;
}

describe('a run', () => {
  it('goes through its stages in order when each of them is well', () => {
    const events = stages.map((stage): RunEvent => ({ kind: 'finished', stage, verdict: 'go_on' }));
    const states = play([{ kind: 'turn', enoughLabels: true }, ...events]);
    expect(states.map((state) => state.stage)).toEqual(['queued', ...stages, 'done']);
    expect(states.at(-1)?.status).toBe('succeeded');
  });

  it('waits for labels, more than once if need be', () => {
    const states = play([
      { kind: 'turn', enoughLabels: false },
      { kind: 'turn', enoughLabels: false },
      { kind: 'turn', enoughLabels: true },
    ]);
    expect(states.map((state) => state.status)).toEqual([
      'queued',
      'waiting_for_labels',
      'waiting_for_labels',
      'running',
    ]);
  });

  it('never leaves its end, and is at stage done exactly when it has ended', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 40 }), (events) => {
        const states = play(events);
        const end = states.findIndex(hasEnded);
        if (end !== -1) for (const state of states.slice(end)) expect(state).toEqual(states[end]);
        for (const state of states) {
          const open = ['queued', 'waiting_for_labels', 'running'].includes(state.status);
          expect(state.stage === 'done').toBe(!open);
        }
      }),
    );
  });

  it('moves one stage at a time, and back only to train what was lost', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 40 }), (events) => {
        const states = play(events);
        for (const [i, event] of events.entries()) {
          const [before, after] = [states[i] ?? queued, states[i + 1] ?? queued];
          if (hasEnded(after)) continue;
          const moved = order(after) - order(before);
          if (moved < 0) expect([event.kind, after.stage]).toEqual(['output_lost', 'training']);
          else expect(moved).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  it('takes the same outcome of a stage twice as once', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 20 }), fc.constantFrom(...stages), (events, stage) => {
        const before = play(events).at(-1) ?? queued;
        const event: RunEvent = { kind: 'finished', stage, verdict: 'go_on' };
        expect(next(next(before, event), event)).toEqual(next(before, event));
      }),
    );
  });

  it('ends when it is cancelled or fails, wherever it is', () => {
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 20 }), fc.constantFrom('cancelled', 'failed'), (events, kind) => {
        expect(hasEnded(next(play(events).at(-1) ?? queued, { kind }))).toBe(true);
      }),
    );
  });
});
