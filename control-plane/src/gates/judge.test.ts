import { RolloutGates } from '@edgeloop/shared/api/rollouts';
import { describe, expect, test } from 'vitest';
import { sumOf } from './counts.ts';
import type { FieldEvidence } from './evidence.ts';
import { type Behaviour, emptyArm, fieldOf, Group, machinesOf, randomOf, stuck, usual } from './field-fixture.ts';
import { accuracyMode, alphaOf, judgeErrors, judgeField } from './judge.ts';

const gates = RolloutGates.parse({});

function judge(field: FieldEvidence, more: Partial<RolloutGates> = {}) {
  const verdicts = [
    judgeErrors({ ...gates, ...more }, countsOf(field), 3),
    ...judgeField({ ...gates, ...more }, field, { waves: 3 }),
  ];
  return Object.fromEntries(verdicts.map((each) => [each.gate, each]));
}

function countsOf({ wave, all }: FieldEvidence) {
  const counts = (scope: FieldEvidence['wave']) => {
    const { hits: failed, trials: requests } = sumOf(scope.fresh.requests);
    return { requests, failed };
  };
  return { wave: counts(wave), all: counts(all) };
}

/** A wave beside the rest, after so many requests on each device. */
function field(
  behaviour: Behaviour,
  { wave = 2, rest = 18, requests = 100, seed = 1, ...more }: Record<string, number> = {},
): FieldEvidence {
  const random = randomOf(seed);
  const fresh = new Group(random, machinesOf(random, wave), { behaviour });
  const old = new Group(random, machinesOf(random, rest), { behaviour: usual });
  const before = new Group(random, machinesOf(random, wave + rest), { behaviour: usual });
  before.answer(50);
  fresh.answer(requests);
  old.answer(requests);
  return fieldOf({ fresh: fresh.arm(), rest: old.arm(), lastPeriod: before.arm(), ...more });
}

describe('gates', () => {
  test('let a version pass that does as the old one did, and say what they would have seen', () => {
    const verdicts = judge(field(usual));
    expect(Object.values(verdicts).map(({ verdict }) => verdict)).toEqual(Array(5).fill('passed'));
    expect(verdicts.accuracy?.numbers).toMatchObject({ comparedWith: 'rest', over: 'wave', minimum: 50 });
    expect(verdicts.accuracy?.numbers?.detectable).toBeLessThan(0.4);
    expect(verdicts.accuracy?.detail).toMatch(/^accuracy 9\d.* on the rest in the same time: .* would have been seen$/);
  });

  test('stop a version that always answers the same class, on one device of three', () => {
    const verdicts = judge(field(stuck, { wave: 1, rest: 2, requests: 100 }));
    expect(verdicts.accuracy).toMatchObject({ verdict: 'failed', blocking: true });
    expect(verdicts.accuracy?.numbers?.low).toBeGreaterThan(gates.accuracy.maxLoss);
    const { drift } = judge(field(stuck));
    expect(drift).toMatchObject({ verdict: 'failed', blocking: false });
    expect(drift?.detail).toContain('class "1" has 100 %');
    expect(verdicts.error_rate).toMatchObject({ verdict: 'passed' });
  });

  test('stop a slow one and one that errs', () => {
    const slow = judge(field({ ...usual, latencyMs: 60 }));
    expect(slow.latency).toMatchObject({ verdict: 'failed', blocking: true });
    expect(slow.latency?.numbers?.effect).toBeCloseTo(3, 0);
    expect(slow.accuracy?.verdict).toBe('passed');
    const erring = judge(field({ ...usual, errors: 0.3 }));
    expect([erring.error_rate?.verdict, erring.error_rise?.verdict]).toEqual(['failed', 'failed']);
  });

  test('know slow machines from slow versions', () => {
    const random = randomOf(3);
    const crawling = machinesOf(random, 2, { spread: 0 }).map(({ speed, before }) => ({
      speed: speed * 10,
      before: before * 10,
    }));
    const fresh = new Group(random, crawling, { behaviour: usual });
    const rest = new Group(random, machinesOf(random, 18), { behaviour: usual });
    for (const group of [fresh, rest]) group.answer(300);
    expect(judge(fieldOf({ fresh: fresh.arm(), rest: rest.arm() })).latency?.verdict).toBe('passed');
  });

  test('let a growth be that is a few milliseconds', () => {
    const quick = { ...usual, latencyMs: 0.4 };
    const random = randomOf(5);
    const machines = (count: number) =>
      machinesOf(random, count).map((each) => ({ ...each, before: each.before / 50 }));
    const fresh = new Group(random, machines(2), { behaviour: { ...quick, latencyMs: 1.2 } });
    const rest = new Group(random, machines(18), { behaviour: quick });
    for (const group of [fresh, rest]) group.answer(300);
    const evidence = fieldOf({ fresh: fresh.arm(), rest: rest.arm() });
    expect(judge(evidence).latency).toMatchObject({
      verdict: 'passed',
      detail: expect.stringContaining('less than 10 ms'),
    });
    const strict = { latency: { ...gates.latency, minRiseMs: 0 } };
    expect(judge(evidence, strict).latency?.verdict).toBe('failed');
  });

  test('never pass for lack of data', () => {
    const none = judge(field(usual, { requests: 0 }));
    for (const gate of ['error_rate', 'error_rise', 'latency', 'accuracy'])
      expect(none[gate]).toMatchObject({ verdict: 'inconclusive', detail: expect.stringMatching(/^0 .* needed$/) });
    const few = judge(field(usual, { requests: 9 }));
    expect(few.error_rate).toMatchObject({ verdict: 'inconclusive', detail: '18 requests seen, 20 needed' });
  });

  test('compare with the last period when nobody runs the old version any more, and say so', () => {
    const evidence = { ...field(stuck), restRuns: false };
    const { accuracy } = judge(evidence);
    expect(accuracy).toMatchObject({ verdict: 'failed', numbers: { comparedWith: 'last_period' } });
    expect(accuracy?.detail).toContain(
      'in the last period of the old version, since no device runs the old version any more',
    );
  });

  test('hold only absolute bounds for a first version, and say so', () => {
    const evidence = { ...field(usual), lastPeriod: emptyArm(), restRuns: false };
    for (const scope of [evidence.wave, evidence.all]) scope.rest = emptyArm();
    const verdicts = judge(evidence);
    expect(verdicts.error_rate).toMatchObject({ verdict: 'passed', blocking: true });
    for (const gate of ['error_rise', 'latency', 'accuracy'])
      expect(verdicts[gate]).toMatchObject({
        verdict: 'inconclusive',
        blocking: false,
        detail: expect.stringContaining('nothing to compare with'),
      });
    const bounded = {
      latency: { ...gates.latency, maxMs: 5 },
      accuracy: { ...gates.accuracy, min: 0.99 },
    };
    const strict = judge(evidence, bounded);
    expect(strict.latency).toMatchObject({ verdict: 'failed', blocking: true, numbers: { comparedWith: 'bound' } });
  });

  test('wait for labels only where they come, and see a proved loss anyhow', () => {
    expect([accuracyMode(gates, 49), accuracyMode(gates, 50)]).toEqual(['warn', 'gate']);
    const quiet = field(usual, { requests: 100 });
    for (const scope of [quiet.wave, quiet.all]) scope.fresh = { ...scope.fresh, labels: [] };
    expect(judge({ ...quiet, labelsExpected: 3 }).accuracy).toMatchObject({
      verdict: 'inconclusive',
      blocking: false,
      detail: expect.stringContaining('labels come too seldom'),
    });
    expect(judge(quiet).accuracy).toMatchObject({ verdict: 'inconclusive', blocking: true });
    expect(judge(field(stuck, { labelsExpected: 0 })).accuracy).toMatchObject({ verdict: 'failed', blocking: true });
  });

  test('judge without evidence when a plan asks for none, and yet see a fault', () => {
    const asked = { minRequests: 0 };
    const verdicts = judge(field(usual, { requests: 0 }), asked);
    const holding = Object.values(verdicts).filter(
      ({ verdict, blocking }) => blocking !== false && verdict !== 'passed',
    );
    expect(holding).toEqual([]);
    expect(judge(field(stuck), asked).accuracy?.verdict).toBe('failed');
  });

  test('divide the stated share of false alarms among tests and waves', () => {
    const { wave, all } = alphaOf(gates, 3);
    expect(4 * (3 * wave + all)).toBeCloseTo(gates.falseAlarms, 12);
    const more = {
      ...gates,
      accuracy: { ...gates.accuracy, min: 0.5 },
      drift: { ...gates.drift, mode: 'gate' as const },
    };
    expect(6 * alphaOf(more, 1).wave).toBeCloseTo(gates.falseAlarms, 12);
  });
});

describe('over many faultless rollouts, looked at again and again', () => {
  test.each([
    { correlation: 0, wave: 1, rest: 4 },
    { correlation: 0.05, wave: 3, rest: 17 },
  ])(
    'all gates together stop no more than stated ($wave beside $rest, $correlation)',
    ({ correlation, wave, rest }) => {
      const asked: RolloutGates = {
        ...gates,
        ...{ falseAlarms: 0.1, maxErrorRate: 1, drift: { mode: 'gate', maxShift: 0.02 } },
        latency: { ...gates.latency, maxRatio: 1, minRiseMs: 0 },
        accuracy: { ...gates.accuracy, maxLoss: 0 },
        maxErrorRise: 0,
      };
      const fleets = 40;
      const random = randomOf(100 * wave);
      const stopped: string[] = [];
      for (let fleet = 0; fleet < fleets; fleet++) {
        const fresh = new Group(random, machinesOf(random, wave), { behaviour: usual, correlation });
        const old = new Group(random, machinesOf(random, rest), { behaviour: usual, correlation });
        for (let look = 0; look < 8; look++) {
          fresh.answer(30);
          old.answer(30);
          const verdicts = judgeField(asked, fieldOf({ fresh: fresh.arm(), rest: old.arm() }), { waves: 2 });
          const failed = verdicts.find(({ verdict }) => verdict === 'failed');
          if (failed === undefined) continue;
          stopped.push(failed.detail);
          break;
        }
      }
      expect(stopped.length, stopped.join('\n')).toBeLessThanOrEqual(0.1 * fleets);
    },
  );
});

describe('gates on a version with variants', () => {
  const [good, bad] = [field(usual, { wave: 4 }), field(stuck, { wave: 2, seed: 2 })];
  const mixed = (bad: FieldEvidence, isInWave = true): FieldEvidence => {
    const own = { name: 'int8', wave: isInWave ? bad.wave : undefined, all: bad.all };
    const each = [own, { name: 'default', wave: good.wave, all: good.all }];
    // As a whole it would pass: what the bad one answers is not among it.
    return { ...good, variants: { of: 2, each } };
  };

  test('fail for one of them though the other does well, and name both', () => {
    const { accuracy } = judge(mixed(bad));
    expect(judge(good).accuracy).toMatchObject({ verdict: 'passed' });
    expect(accuracy).toMatchObject({ verdict: 'failed', blocking: true });
    expect(accuracy?.detail).toMatch(/^variant "int8": accuracy 2.*; variant "default": accuracy 9/);
    expect(accuracy?.variants?.map(({ name, verdict }) => [name, verdict])).toEqual([
      ['int8', 'failed'],
      ['default', 'passed'],
    ]);
  });

  test('wait for a variant that has answered too little', () => {
    const verdicts = judge(mixed(field(usual, { wave: 1, requests: 2 })));
    expect(verdicts.error_rise).toMatchObject({ verdict: 'inconclusive' });
    expect(verdicts.error_rise?.detail).toMatch(/^variant "int8": /);
  });

  test('fail for a variant of former waves, and wait for none', () => {
    expect(judge(mixed(bad, false)).accuracy).toMatchObject({ verdict: 'failed' });
    const former = judge(mixed(field(usual, { wave: 1, requests: 2 }), false));
    expect(former.error_rise).toMatchObject({ verdict: 'passed' });
    expect(former.error_rise?.variants).toHaveLength(1);
  });

  test('divide the false alarms by how many there are', () => {
    const alphaIn = (field: FieldEvidence) => judge(field).accuracy?.numbers?.alpha ?? 0;
    expect(alphaIn(mixed(good))).toBeCloseTo(alphaIn(good) / 2, 10);
  });

  test('judge errors of each by itself', () => {
    const counts = (requests: number, failed: number) => ({ requests, failed });
    const each = [
      { name: 'int8', wave: counts(200, 60), all: counts(200, 60) },
      { name: 'default', wave: counts(9800, 40), all: counts(9800, 40) },
    ];
    const whole = { wave: counts(10_000, 100), all: counts(10_000, 100) };
    expect(judgeErrors(gates, whole, 3)).toMatchObject({ verdict: 'passed' });
    const verdict = judgeErrors(gates, { ...whole, variants: { of: 2, each } }, 3);
    expect(verdict).toMatchObject({
      verdict: 'failed',
      variants: [{ name: 'int8' }, { name: 'default', verdict: 'passed' }],
    });
    expect(judgeErrors(gates, { ...whole, variants: { of: 2, each: [] } }, 3)).toMatchObject({ verdict: 'passed' });
  });
});
