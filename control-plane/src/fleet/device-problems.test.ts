import { expect, it } from 'vitest';
import { problemsOf, type Troubles } from './device-problems.ts';

const problems = (troubles: Partial<Troubles>) =>
  problemsOf({
    id: 'cam',
    conflicting: false,
    identityConflict: null,
    reported: null,
    desiredGeneration: 0,
    unknown: [],
    disregarded: [],
    now: 0,
    ...troubles,
  });
const failing = (message: string) => ({
  name: 'sum',
  active: null,
  lastGood: null,
  candidate: {
    ...{ version: 3, rolloutId: 'r', state: 'fetching' as const, since: 1 },
    error: { code: 'insufficient_storage', message },
  },
});

it('says nothing of a device without troubles, and of one that never reported', () => {
  expect(problems({})).toEqual([]);
  expect(problems({ reported: { generation: 0, models: [] } })).toEqual([]);
});

it('puts the device’s own words first, then why a model does not come, then what the server sees', () => {
  const reported = { generation: 7, models: [failing('no space is left')], problems: ['the disk is full'] };
  const unknown = [{ model: 'sum', version: 2, release: 'ab'.repeat(32) }];
  expect(problems({ reported, desiredGeneration: 3, conflicting: true, unknown })).toEqual([
    'the disk is full',
    'model sum 3: fetching: insufficient_storage: no space is left',
    expect.stringMatching(
      /^conflicting: the device followed generation 7, this server has given 3; .*devices resolve cam --follow/,
    ),
    'model sum 2: the device has release abababababab, not registered here; roll out the version that it should run',
  ]);
});

it('makes one line of bounded length of whatever a device says, each thing once, and not without end', () => {
  const hostile = ['\u001b[2J\u202egone\r\nroot#', 'x'.repeat(100_000), 'twice', 'twice', ' \u0000 '];
  const models = Array.from({ length: 500 }, (_, i) => failing(`reason ${i}\n`));
  const told = problems({ reported: { generation: 0, models, problems: hostile } });
  expect(told[0]).toBe('[2J gone root#');
  expect(told[1]).toHaveLength(500);
  expect(told.filter((text) => text === 'twice')).toHaveLength(1);
  expect(told).toHaveLength(50);
  expect(told.join('')).not.toMatch(/\p{Cc}|\p{Bidi_Control}/u);
});
