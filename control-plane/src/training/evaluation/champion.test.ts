import type { VersionSummary } from '@edgeloop/shared/api/models';
import { expect, it } from 'vitest';
import { championOf } from './champion.ts';

const version = (number: number, runId?: string): VersionSummary => ({
  model: 'sorter',
  version: number,
  digest: '0'.repeat(64),
  release: '1'.repeat(64),
  sizeBytes: 1,
  createdAt: 0,
  createdBy: 'system',
  lineage: { source: 'training', ...(runId === undefined ? {} : { runId }) },
  metrics: {},
});
const versions = [version(1), version(2), version(3, 'own')];

it('the champion is the version that most devices should run, of equals the newer', () => {
  const champion = (...counts: [number, number][]) =>
    championOf([...versions, version(4)], { deployed: new Map(counts), runId: 'own' });
  expect(champion([1, 5], [2, 3])).toBe(1);
  expect(champion([1, 3], [2, 3])).toBe(2);
  expect(champion([9, 100], [2, 1])).toBe(2);
  expect(champion()).toBe(4);
});

it('a version of the run itself is no champion', () => {
  expect(championOf(versions, { deployed: new Map([[3, 10]]), runId: 'own' })).toBe(2);
  expect(championOf([version(1, 'own')], { deployed: new Map(), runId: 'own' })).toBeUndefined();
});
