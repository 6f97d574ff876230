import type { ModelReport } from '@edgeloop/shared/messages';
import { expect, it } from 'vitest';
import { countKinds, failureKindOf, withKinds } from './failure-kinds.ts';

const member = {
  ...{ wave: 0, rank: 0, assignedAt: 0, attempt: 1, online: true, connectionSince: 0, outcome: null, detail: null },
};
const failed = (error: NonNullable<ModelReport['candidate']>['error']) => ({
  member: { ...member, servingSince: null },
  report: {
    ...{ name: 'net', active: null, lastGood: null },
    candidate: { version: 2, rolloutId: 'r', state: 'failed' as const, since: 0, error },
  },
});

it('says at what a device failed, by its own word or by the code of an agent of before', () => {
  const kind = (code: string, told?: 'golden') =>
    failureKindOf(failed({ code, message: '', ...(told && { kind: told }) }));
  expect(kind('model_rejected', 'golden')).toBe('golden');
  expect(
    ['integrity', 'unavailable', 'insufficient_storage', 'unsupported', 'model_rejected'].map((code) => kind(code)),
  ).toEqual(['verify', 'fetch', 'fetch', 'contract', 'load']);
  expect(failureKindOf({ report: null, member: { ...member, servingSince: null } })).toBe('timeout');
  const back = { name: 'net', active: null, lastGood: 1, candidate: null };
  expect(failureKindOf({ report: back, member: { ...member, servingSince: 5 } })).toBe('crash');
});

it('counts them into the verdict', () => {
  const verdict = { gate: 'failed_devices', verdict: 'failed', detail: '3 of 9 devices failed' } as const;
  const kinds = countKinds(['golden', undefined, 'fetch', 'golden']);
  expect(withKinds(verdict, kinds)).toMatchObject({
    detail: '3 of 9 devices failed (2 golden, 1 fetch)',
    kinds: { golden: 2, fetch: 1 },
  });
  expect(withKinds(verdict, countKinds([]))).toEqual(verdict);
});
