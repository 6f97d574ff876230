import type { Labels } from '@edgeloop/shared/selector';
import { expect, test } from 'vitest';
import { createRandom } from '../../training/trainers/random.ts';
import { attribute } from './attribution.ts';
import { histogramOf, normal, profileOf, samplesOf } from './profile-fixture.ts';

const random = createRandom(11);
const profile = profileOf(samplesOf(5000, () => normal(random)));
const reference = { rows: 5000, features: { x: profile } };
const settings = { minSamples: 300, falseDiscoveryRate: 0.01, minPsi: 0.1 };

function device(deviceId: string, { moved = false, labels = {} as Labels, count = 400 } = {}) {
  const values = samplesOf(count, () => normal(random) + (moved ? 1.5 : 0));
  return { deviceId, labels, observed: { features: { x: histogramOf(profile.edges, values) }, classes: {} } };
}
function scope(devices: ReturnType<typeof device>[]) {
  return attribute(reference, devices, { signals: ['x'], settings });
}

test('one device that moved among others that did not is named', () => {
  const found = scope([device('a', { moved: true }), device('b'), device('c'), device('d')]);
  expect(found).toEqual({ kind: 'device', devices: ['a'], detail: 'a alone of 4 devices' });
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
  expect(scope([device('a'), device('b')])).toMatchObject({ kind: 'unknown', devices: [] });
});

test('devices with too few samples are counted as such', () => {
  const found = scope([device('a', { moved: true }), device('b'), device('c'), device('d', { count: 10 })]);
  expect(found.detail).toBe('a alone of 3 devices; 1 had too few samples to tell');
});
