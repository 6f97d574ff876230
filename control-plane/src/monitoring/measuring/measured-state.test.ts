import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Verdict } from '../statistics/drift.ts';
import { nextMeasuredStep } from './measured-state.ts';

const verdicts = fc.array(
  fc.record({
    verdict: fc.constantFrom<Verdict>('suspicious', 'unsettled', 'calm', 'insufficient'),
    after: fc.integer({ min: 1, max: 60 }),
  }),
  { maxLength: 60 },
);

type State = Parameters<typeof nextMeasuredStep>[0]['alert'];
interface Seen {
  now: number;
  verdict: Verdict;
  state: State;
}

function settle(from: State, { now, verdict, forMs, calmMs }: { now: number; verdict: Verdict } & Times): State {
  let state = from;
  for (let i = 0; i < 5; i++) {
    const step = nextMeasuredStep({ alert: state, verdict, now, forMs, calmMs });
    if (step.kind === 'keep') return state && { ...state, calmSince: step.calmSince };
    if (step.kind === 'resolve') return undefined;
    state =
      step.kind === 'open'
        ? { status: 'pending', startedAt: now, calmSince: null }
        : { status: 'firing', startedAt: state?.startedAt ?? now, calmSince: null };
  }
  throw new Error('the state does not settle');
}
interface Times {
  forMs: number;
  calmMs: number;
}

test('it fires only after it held, ends only after it was calm without a break, and looking twice changes nothing', () => {
  const times = fc.record({ forMs: fc.integer({ min: 0, max: 100 }), calmMs: fc.integer({ min: 1, max: 100 }) });
  fc.assert(
    fc.property(verdicts, times, (given, { forMs, calmMs }) => {
      const seen: Seen[] = [];
      let now = 0;
      let state: State;
      for (const { verdict, after } of given) {
        now += after;
        const before = state;
        state = settle(before, { now, verdict, forMs, calmMs });
        if (state !== undefined) expect(settle(state, { now, verdict, forMs, calmMs })).toEqual(state);
        if (state?.status === 'firing' && before?.status !== 'firing') {
          const since = seen.findLast((each) => each.state === undefined)?.now ?? -1;
          const held = seen.filter((each) => each.now > since);
          expect(held.every((each) => each.verdict !== 'calm')).toBe(true);
          expect(now - state.startedAt).toBeGreaterThanOrEqual(forMs);
        }
        if (before?.status === 'firing' && state === undefined) {
          const broken = seen.findLast((each) => each.verdict !== 'calm' && each.verdict !== 'insufficient')?.now ?? 0;
          expect(now - broken).toBeGreaterThanOrEqual(calmMs);
        }
        seen.push({ now, verdict, state });
      }
    }),
  );
});
