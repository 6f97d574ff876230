import type { Labels } from '@edgeloop/shared/selector';
import { emptyHistogram, mergeHistogram } from '@edgeloop/shared/sketches/histogram';
import { expect, test } from 'vitest';
import { createRandom } from '../../training/trainers/random.ts';
import { type DeviceWindow, judgeFleet } from './attribution.ts';
import { histogramOf, normal, profileOf, samplesOf } from './profile-fixture.ts';

const random = createRandom(11);
const profile = profileOf(samplesOf(5000, () => normal(random)));
const reference = { rows: 5000, features: { x: profile } };
const settings = { minSamples: 300, falseDiscoveryRate: 0.01, minPsi: 0.1 };

function device(
  deviceId: string,
  { moved = false, labels = {} as Labels, count = 400, change = (x: number) => x } = {},
) {
  const values = samplesOf(count, () => change(normal(random)) + (moved ? 1.5 : 0));
  return { deviceId, labels, observed: { features: { x: histogramOf(profile.edges, values) }, classes: {} } };
}
function judged(devices: readonly DeviceWindow[]) {
  const x = emptyHistogram(profile.edges);
  for (const { observed } of devices) if (observed.features.x !== undefined) mergeHistogram(x, observed.features.x);
  return judgeFleet(reference, { merged: { features: { x }, classes: {} }, devices }, settings);
}
function scope(devices: readonly DeviceWindow[]) {
  return judged(devices).scope;
}

test('one device that moved among others that did not is named', () => {
  const found = scope([device('a', { moved: true }), device('b'), device('c'), device('d')]);
  expect(found).toMatchObject({ kind: 'device', devices: ['a'], detail: 'a alone of 4 devices' });
  expect(found.faults).toMatchObject([{ device: 'a', signal: 'x', kind: 'offset' }]);
});

test('devices that share a label the others do not have are a cohort', () => {
  const paris = { site: 'paris', os: 'linux' };
  const lyon = { site: 'lyon', os: 'linux' };
  const found = scope([
    device('a', { moved: true, labels: paris }),
    device('b', { moved: true, labels: paris }),
    device('c', { labels: lyon }),
    device('d', { labels: lyon }),
  ]);
  expect(found).toMatchObject({ kind: 'cohort', devices: ['a', 'b'], detail: 'site=paris: 2 of 4 devices' });
});

test('when nearly all moved it is the fleet', () => {
  const found = scope([...'abcde'].map((id) => device(id, { moved: id !== 'e', labels: { site: id } })));
  expect(found).toMatchObject({ kind: 'fleet', detail: '4 of 5 devices' });
});

test('with one device, or with none that shows it alone, nothing is claimed', () => {
  expect(scope([device('a', { moved: true })]).kind).toBe('unknown');
  expect(scope([device('a'), device('b')])).toEqual({ kind: 'unknown', devices: [], detail: '' });
});

test('devices with too few samples are counted as such', () => {
  const found = scope([device('a', { moved: true }), device('b'), device('c'), device('d', { count: 10 })]);
  expect(found.detail).toBe('a alone of 3 devices; 1 had too few samples to tell');
});

const many = (count: number, of: (i: number) => Parameters<typeof device>[1] = () => ({})) =>
  Array.from({ length: count }, (_, i) => device(`d${i}`, of(i)));

test('one device among many is found though the fleet as a whole does not show it, and its fault is named', () => {
  const { judged: found, scope: where } = judged([...many(60), device('bad', { change: () => 0.4 })]);
  expect(found.verdict).toBe('suspicious');
  expect(found.signals[0]).toMatchObject({ name: 'x', state: 'moved' });
  expect(where).toMatchObject({ kind: 'device', devices: ['bad'], faults: [{ kind: 'stuck', signal: 'x' }] });
});

test('a dead device, all of whose values are missing, is found among many', () => {
  const { scope: where } = judged([...many(60), device('bad', { change: () => Number.NaN })]);
  expect(where).toMatchObject({ kind: 'device', devices: ['bad'], faults: [{ kind: 'dead' }] });
});

test('devices that are never alike are no alarm', () => {
  const found = judged(many(40, (i) => ({ change: (x: number) => x + (i - 19.5) / 16, count: 100 })));
  expect(found.judged.verdict).not.toBe('suspicious');
});

test('devices without drift raise no more alarms than asked, however many they are', () => {
  const verdicts = samplesOf(60, () => judged(many(50, () => ({ count: 120 }))).judged.verdict);
  expect(verdicts.filter((verdict) => verdict === 'suspicious').length).toBeLessThanOrEqual(3);
});
