import type { BacktestReport } from '@edgeloop/shared/api/backtests';
import { BacktestGate } from '@edgeloop/shared/api/gates';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pairedGain } from '../training/evaluation/comparison.ts';
import { backtestVerdict } from './verdict.ts';
import { describeReport } from './words.ts';

const run = { version: 3, answered: 0, refused: 0, failed: 0, reasons: [], latencyMs: null };
const bounds = { ...BacktestGate.parse({ mode: 'gate' }), maxErrorRate: 0.02 };

function reportOf(change: Partial<BacktestReport> = {}): BacktestReport {
  return {
    ...{ from: 1, to: 2, samples: 1000, comparedWith: 'baseline', why: 'it is stable', compared: 1000, changed: 41 },
    ...{ candidate: run, baseline: { ...run, version: 2 }, field: { compared: 0, changed: 0 }, repeated: null },
    ...{ transitions: [], slices: [], accuracy: null, error: null, differences: [], leftOut: [], cut: null },
    ...change,
  };
}
/** So many labels, of which the one and the other alone have so many right. */
const accuracyOf = (labelled: number, challengerOnly: number, rivalOnly: number): BacktestReport['accuracy'] => {
  const { challenger, rival, gain } = pairedGain(
    { both: labelled - challengerOnly - rivalOnly, challengerOnly, rivalOnly, neither: 0 },
    0.99,
  );
  return { labelled, candidate: challenger, baseline: rival, gain };
};
const verdict = (report: BacktestReport, more: Partial<typeof bounds> = {}) =>
  backtestVerdict({ ...bounds, ...more }, { report });

describe('the verdict on a backtest', () => {
  it.each([
    ['no loss', accuracyOf(400, 10, 10), {}, 'passed'],
    ['a loss within the bound', accuracyOf(400, 0, 12), {}, 'passed'],
    ['a loss beyond it that may be chance', accuracyOf(40, 0, 4), {}, 'inconclusive'],
    ['a loss beyond it', accuracyOf(400, 0, 100), {}, 'failed'],
    ['too few labels, and nothing else to go by', accuracyOf(29, 0, 0), {}, 'inconclusive'],
    ['no labels, and as few changes as allowed', null, { maxChanged: 0.05 }, 'passed'],
    ['no labels, and more changes', null, { maxChanged: 0.01 }, 'failed'],
    ['more changes that may be chance', null, { maxChanged: 0.04 }, 'inconclusive'],
    ['changes beyond the bound, though the labels are right', accuracyOf(400, 20, 0), { maxChanged: 0.01 }, 'failed'],
  ] as const)('of %s', (_what, accuracy, more, expected) => {
    expect(verdict(reportOf({ accuracy }), more)).toMatchObject({
      gate: 'backtest',
      verdict: expected,
      blocking: true,
    });
  });

  it('never passes for lack of samples, whatever was seen', () => {
    const counts = fc.record({
      compared: fc.nat(99),
      labelled: fc.nat(99),
      rivalOnly: fc.nat(20),
      maxChanged: fc.constantFrom(undefined, 0.1, 1),
    });
    fc.assert(
      fc.property(counts, ({ compared, labelled, rivalOnly, maxChanged }) => {
        const accuracy = labelled > 20 ? accuracyOf(labelled, 0, rivalOnly) : null;
        const few = reportOf({ samples: compared, compared, changed: Math.min(compared, 3), accuracy });
        expect(verdict(few, maxChanged === undefined ? {} : { maxChanged }).verdict).toBe('inconclusive');
      }),
    );
    const nothing = reportOf({
      comparedWith: 'nothing',
      accuracy: { labelled: 500, candidate: 1, baseline: null, gain: null },
    });
    expect(verdict(nothing, { maxChanged: 1 }).verdict).toBe('inconclusive');
  });

  it('fails a version that gives no answer where the other one does', () => {
    const failing = { ...run, failed: 200, reasons: ['Non-zero status code'] };
    expect(verdict(reportOf({ candidate: failing }), { maxChanged: 1 })).toMatchObject({
      verdict: 'failed',
      detail: expect.stringContaining('no answer to 20.0 % of the samples'),
    });
    expect(
      verdict(reportOf({ candidate: failing, baseline: { ...failing, version: 2 } }), { maxChanged: 1 }).verdict,
    ).toBe('passed');
  });

  it('of numbers is by how much the mean error grows', () => {
    const error = (value: number, half: number) => ({
      labelled: 50,
      candidate: 1 + value,
      baseline: 1,
      rise: { value, low: value - half, high: value + half },
    });
    expect(verdict(reportOf({ error: error(0.04, 0.1) })).verdict).toBe('passed');
    expect(verdict(reportOf({ error: error(0.2, 0.1) })).verdict).toBe('failed');
    expect(verdict(reportOf({ error: error(0.2, 0.18) })).verdict).toBe('inconclusive');
  });

  it('fails when the version cannot be run, and is inconclusive when that is no fault of it', () => {
    const of = (by: 'candidate' | 'server' | 'request') =>
      backtestVerdict(bounds, { failure: { by, detail: 'it died' } });
    expect(of('candidate')).toMatchObject({ verdict: 'failed', detail: 'the backtest could not be made: it died' });
    expect([of('server').verdict, of('request').verdict]).toEqual(['inconclusive', 'inconclusive']);
  });

  it('blocks nobody when it only warns', () => {
    expect(backtestVerdict({ ...bounds, mode: 'warn' }, { report: reportOf() }).blocking).toBe(false);
  });
});

describe('the sentence', () => {
  const slice = { by: 'label', key: 'site', labelled: 0, candidateRight: 0, baselineRight: 0 } as const;

  it('says how many change, where most, and what the labels say', () => {
    const slices = [
      { ...slice, value: 'a', samples: 900, changed: 9 },
      { ...slice, value: 'b', samples: 100, changed: 32 },
    ];
    const text = describeReport(reportOf({ slices, accuracy: accuracyOf(1210, 12, 23) }), { days: 7 });
    expect(text).toBe(
      'of 1,000 samples of the last 7 days 4.1 % would be answered otherwise than by version 2; most at site=b (32.0 %); ' +
        'accuracy 98.1 % against 99.0 % on 1,210 labels',
    );
  });

  it('names no place that differs by chance alone', () => {
    const slices = [
      { ...slice, value: 'a', samples: 950, changed: 37 },
      { ...slice, value: 'b', samples: 50, changed: 4 },
    ];
    expect(describeReport(reportOf({ slices }), { days: 1 })).not.toContain('most at');
  });

  it('says what was left out, what was cut, and that the baseline does not repeat itself', () => {
    const text = describeReport(
      reportOf({
        repeated: { compared: 100, same: 80 },
        leftOut: [{ reason: 'version 3 takes the feature "x", which samples of version 1 do not have', samples: 12 }],
        cut: 'only 1000 of 5000 samples, since time was over',
      }),
      { days: 7 },
    );
    expect(text).toContain('version 2 repeats only 80.0 % of what it answered in the field');
    expect(text).toContain('12 left out, version 3 takes the feature "x"');
    expect(text).toContain('since time was over');
    const none = reportOf({ samples: 0, compared: 0, changed: 0, comparedWith: 'nothing' });
    expect(describeReport(none, { days: 7 })).toBe('no sample of the last 7 days could be asked');
  });
});
