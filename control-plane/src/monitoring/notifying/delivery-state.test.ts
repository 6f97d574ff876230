import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type DeliverySettings,
  type DeliveryState,
  delivered,
  dueOf,
  type GroupMember,
  nothingTold,
} from './delivery-state.ts';

const settings: DeliverySettings = {
  ...{ groupIntervalMs: 300, repeatMs: 1000, sendResolved: true, repeatAcknowledged: false },
};
const firing = (id: string, parts: Partial<GroupMember> = {}): GroupMember => ({
  ...{ id, status: 'firing', muted: false, acknowledged: false },
  ...parts,
});

/** Sends what is due; the state after it and what was sent. */
function sent(
  state: DeliveryState,
  members: readonly GroupMember[],
  now: number,
  changes: Partial<DeliverySettings> = {},
) {
  const due = dueOf(members, state, { ...settings, ...changes, now });
  return { due, state: due === undefined ? state : delivered(state, { due, members, now }) };
}

test('what still fires is told again after a while, unless somebody takes care of it or it is muted', () => {
  const first = sent(nothingTold, [firing('a')], 0);
  expect(first.due).toEqual({ ids: ['a'], reason: 'news' });
  expect(sent(first.state, [firing('a')], 999).due).toBeUndefined();
  expect(sent(first.state, [firing('a')], 1000).due).toEqual({ ids: ['a'], reason: 'repeat' });
  for (const parts of [{ acknowledged: true }, { muted: true }])
    expect(sent(first.state, [firing('a', parts)], 5000).due).toBeUndefined();
  const again = sent(first.state, [firing('a', { acknowledged: true })], 1000, { repeatAcknowledged: true });
  expect(again.due?.reason).toBe('repeat');
});

test('a muted end is told when it is muted no more, and never where ends are not wanted', () => {
  const { state } = sent(nothingTold, [firing('a')], 0);
  const end = firing('a', { status: 'resolved' });
  expect(sent(state, [{ ...end, muted: true }], 10).due).toBeUndefined();
  expect(sent(state, [end], 20)).toMatchObject({ due: { ids: ['a'] }, state: { told: [] } });
  expect(sent(state, [end], 20, { sendResolved: false }).due).toBeUndefined();
});

test('over any history: no beginning is told twice, no end of what was not told, and ends never outnumber beginnings', () => {
  const step = fc.record({
    after: fc.integer({ min: 0, max: 400 }),
    id: fc.constantFrom('a', 'b', 'c'),
    change: fc.constantFrom('fire', 'resolve', 'mute', 'unmute', 'lose'),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const members = new Map<string, GroupMember>();
      const open = new Set<string>();
      let state = nothingTold;
      let now = 0;
      for (const { after, id, change } of steps) {
        now += after;
        const known = members.get(id);
        if (change === 'fire' && known?.status !== 'firing') members.set(id, firing(id));
        if (known !== undefined && change === 'resolve') members.set(id, { ...known, status: 'resolved' });
        if (known !== undefined && change === 'mute') members.set(id, { ...known, muted: true });
        if (known !== undefined && change === 'unmute') members.set(id, { ...known, muted: false });
        const due = dueOf([...members.values()], state, { ...settings, now });
        // It was sent, and the process died before that was written down: the same is due again.
        if (change === 'lose') {
          expect(dueOf([...members.values()], state, { ...settings, now })).toEqual(due);
          continue;
        }
        if (due === undefined) continue;
        for (const told of due.ids) {
          const member = members.get(told);
          expect(member?.muted).toBe(false);
          if (member?.status === 'resolved') expect(open.delete(told)).toBe(true);
          else if (due.reason === 'news') {
            expect(open.has(told)).toBe(false);
            open.add(told);
          } else expect(open.has(told)).toBe(true);
        }
        state = delivered(state, { due, members: [...members.values()], now });
        expect(new Set(state.told)).toEqual(open);
      }
    }),
  );
});
