import { PipelineSpec } from '@edgeloop/shared/api/training';
import { describe, expect, it } from 'vitest';
import { judge } from './judgement.ts';

const rule = PipelineSpec.shape.evaluation.parse({});
const better = { both: 800, challengerOnly: 90, rivalOnly: 10, neither: 100 };

describe('the judgement of a challenger', () => {
  it('is won only when the lower bound of the gain is above what the pipeline asks', () => {
    const champion = { kind: 'champion', version: 3, counts: better } as const;
    const evaluation = judge(champion, rule);
    expect(evaluation).toMatchObject({ rows: 1000, challenger: 0.89, champion: 0.81, championVersion: 3, won: true });
    expect(evaluation.gain?.value).toBeCloseTo(0.08, 9);
    expect(judge(champion, { ...rule, minGain: 0.079 }).won).toBe(false);
    expect(judge({ ...champion, counts: { ...better, challengerOnly: 15 } }, rule).won).toBe(false);
  });

  it('is never won on too few rows, however clear they are', () => {
    const counts = { both: 0, challengerOnly: 40, rivalOnly: 0, neither: 0 };
    const evaluation = judge({ kind: 'champion', version: 1, counts }, rule);
    expect(evaluation).toMatchObject({ won: false, detail: expect.stringMatching(/fewer than 50 rows/) });
  });

  it('of a first version is about the most frequent class, whatever gain is asked later', () => {
    const evaluation = judge({ kind: 'majority', counts: better }, { ...rule, minGain: 0.5 });
    expect(evaluation).toMatchObject({ won: true, champion: null, championVersion: null, gain: null });
    const none = { both: 800, challengerOnly: 20, rivalOnly: 20, neither: 160 };
    expect(judge({ kind: 'majority', counts: none }, rule).won).toBe(false);
  });

  it('is not won without a comparison, and says why there is none', () => {
    const evaluation = judge(
      { kind: 'incomparable', version: 2, reason: 'it takes the feature "z"', challenger: better },
      rule,
    );
    expect(evaluation).toMatchObject({ won: false, challenger: 0.89, champion: null, championVersion: 2, gain: null });
    expect(evaluation.detail).toMatch(/not comparable with version 2: it takes the feature "z"/);
  });
});
