import { RolloutGates } from '@edgeloop/shared/api/rollouts';
import { describe, expect, it } from 'vitest';
import type { Counts } from './counts.ts';
import type { ShadowArm } from './evidence.ts';
import { emptyArm, ownRate, randomOf } from './field-fixture.ts';
import { judgeShadow, shadowAgreement } from './shadow.ts';

const settings = { minAgreement: 0.9, minCompared: 100, alpha: 0.01 };
const sketch = emptyArm().latencyMs;
const armOf = (disagreements: Counts[], more: Partial<ShadowArm> = {}): ShadowArm => ({
  ...{ disagreements, failed: 0, skipped: 0, difference: sketch, latencyMs: sketch, formerMs: sketch },
  ...more,
});
const alike = (devices: number, hits: number, trials: number) => armOf(Array(devices).fill({ hits, trials }));

describe('shadow agreement', () => {
  it.each([
    [
      'passes when enough is compared and enough agrees',
      alike(10, 2, 100),
      'pass',
      /^98 % of 1000 answers in the shadow agree, at least 90 % must/,
    ],
    ['fails beyond chance', alike(10, 40, 100), 'fail', /^60 % of 1000 answers/],
    [
      'waits for its minimum however well they agree',
      alike(2, 0, 20),
      'inconclusive',
      /^40 answers compared, 100 needed$/,
    ],
    ['fails before its minimum when nothing agrees', alike(10, 9, 9), 'fail', /^0 % of 90 answers/],
    ['never passes without evidence', undefined, 'inconclusive', /^0 answers compared, 100 needed$/],
    ['waits when too little agrees and that may be chance', alike(2, 8, 60), 'inconclusive', /too few to tell/],
  ])('%s', (_what, arm, verdict, detail) => {
    expect(shadowAgreement(arm, settings)).toMatchObject({ verdict, detail: expect.stringMatching(detail) });
  });

  it('says what else was seen', () => {
    const arm = armOf([{ hits: 5, trials: 200 }], { failed: 3, skipped: 40 });
    expect(shadowAgreement(arm, settings).detail).toMatch(/\(3 runs failed, 40 answers were not compared\)$/);
  });

  it('takes a device that disagrees alone for less than many that do', () => {
    const one = shadowAgreement(armOf([{ hits: 160, trials: 1000 }]), settings);
    const many = shadowAgreement(alike(100, 16, 100), settings);
    expect([one.verdict, many.verdict]).toEqual(['inconclusive', 'fail']);
  });

  it('stops no more than the stated share of versions that agree just enough, however often it is looked at', () => {
    const random = randomOf(5);
    const alpha = 0.05;
    let stopped = 0;
    const runs = 200;
    for (let run = 0; run < runs; run++) {
      const rates = Array.from({ length: 20 }, () => ownRate(random, 0.1, 0.05));
      const counts = rates.map(() => ({ hits: 0, trials: 0 }));
      for (let look = 0; look < 40; look++) {
        for (const [i, own] of counts.entries()) {
          own.trials++;
          if (random() < (rates[i] ?? 0)) own.hits++;
        }
        if (shadowAgreement(armOf(counts), { ...settings, alpha }).verdict !== 'fail') continue;
        stopped++;
        break;
      }
    }
    expect(stopped / runs).toBeLessThanOrEqual(alpha);
  });

  it('is judged on the wave, and only warns when it is asked to', () => {
    const gates = RolloutGates.parse({ shadow: { mode: 'warn' } });
    const wave = { over: 'wave' as const, fresh: { ...emptyArm(), shadow: alike(10, 50, 100) }, rest: emptyArm() };
    expect(judgeShadow(gates, { wave }, 3)).toMatchObject({
      gate: 'shadow_agreement',
      verdict: 'failed',
      blocking: false,
    });
  });

  it('is judged on each variant by itself, which share the false alarms', () => {
    const gates = RolloutGates.parse({});
    const scopeOf = (shadow: ShadowArm | undefined) => ({
      ...{ over: 'wave' as const, fresh: { ...emptyArm(), shadow }, rest: emptyArm() },
    });
    const variant = (name: string, shadow: ShadowArm | undefined) => ({
      ...{ name, wave: scopeOf(shadow), all: scopeOf(shadow) },
    });
    // Of ten devices one has the bad variant: too little to be seen in all of them together.
    const [fine, bad] = [alike(9, 1, 300), alike(1, 290, 300)];
    const wave = scopeOf(armOf([...fine.disagreements, ...bad.disagreements]));
    expect(judgeShadow(gates, { wave }, 3).verdict).not.toBe('failed');
    const each = [variant('default', fine), variant('int8', bad)];
    const judged = judgeShadow(gates, { wave, variants: { of: 2, each } }, 3);
    expect(judged).toMatchObject({ gate: 'shadow_agreement', verdict: 'failed' });
    expect(judged.detail).toMatch(
      /^variant "int8": 3.33 % of 300 answers.*; variant "default": 99.67 % of 2700 answers/,
    );
    expect(judged.variants?.map(({ name, verdict }) => [name, verdict])).toEqual([
      ['default', 'passed'],
      ['int8', 'failed'],
    ]);
    const silent = { of: 2, each: [variant('default', fine), variant('int8', undefined)] };
    expect(judgeShadow(gates, { wave: scopeOf(fine), variants: silent }, 3).verdict).not.toBe('passed');
    const elsewhere = { of: 2, each: [{ ...variant('int8', bad), wave: undefined }] };
    expect(judgeShadow(gates, { wave: scopeOf(fine), variants: elsewhere }, 3).verdict).toBe('passed');
  });
});
