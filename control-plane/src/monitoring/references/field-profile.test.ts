import { ReferenceProfile } from '@edgeloop/shared/profile';
import { valueSketchOf } from '@edgeloop/shared/sketches/value-sketch';
import { expect, it } from 'vitest';
import { createRandom } from '../../training/trainers/random.ts';
import { judgeDrift, type Observed } from '../statistics/drift.ts';
import { profileOfField } from './field-profile.ts';

const random = createRandom(11);
const settings = { minSamples: 300, falseDiscoveryRate: 0.01, minPsi: 0.1 };

/** A window of pictures as bright as this, more or less, at two sites. */
function window(brightness: number, rows = 400): Observed {
  const values = Array.from({ length: rows }, () => brightness + 0.1 * (random() + random() - 1));
  return {
    ...{ features: {}, classes: {} },
    signals: { 'input:image:brightness': valueSketchOf(values) },
    categories: { site: { counts: { north: rows / 2, south: rows / 2 }, other: 0 } },
  };
}

it('makes a reference of signals that find their own bins, against which they are judged', () => {
  const windows = Array.from({ length: 24 }, () => window(0.5));
  const profile = ReferenceProfile.parse(profileOfField(windows, { features: {}, confidence: undefined }));
  expect(profile.rows).toBe(24 * 400);
  expect(profile.signals?.['input:image:brightness']?.blocks?.[0]).toMatchObject({ count: 24, size: 400 });
  expect(judgeDrift(profile, window(0.5), settings).verdict).toBe('calm');
  expect(judgeDrift(profile, window(0.45), settings).signals).toMatchObject([{ state: 'moved' }, { state: 'calm' }]);
});

it('makes nothing of windows that hold nothing', () => {
  expect(profileOfField([{ features: {}, classes: {} }], { features: {}, confidence: undefined })).toBeUndefined();
});
