// All gates that are judged by what a version answers, on one wave. The stated share of false alarms is divided among the
// tests, half of each for all devices so far and half for the waves, so that all of them together keep it over the whole
// rollout, however often they are looked at.
import type { GateVerdict, RolloutGates } from '@edgeloop/shared/api/rollouts';
import { classShift } from './drift.ts';
import type { FieldEvidence, Scope } from './evidence.ts';
import { latencyBound, latencyRise } from './latency.ts';
import { type GateOutcome, verdictFrom, worseOf } from './outcome.ts';
import { accuracyBound, accuracyLoss, errorRate, errorRise, type RequestCounts } from './rates.ts';

type Judge = (scope: Scope, alpha: number) => GateOutcome;
interface Test {
  gate: GateVerdict['gate'];
  mode: 'gate' | 'warn';
  judge: Judge;
}

/** `alone`: nothing but the wave is judged, since its devices are compared with themselves. */
interface Judging {
  /** How many the plan has. */
  waves: number;
  alone?: boolean;
}

export function judgeField(gates: RolloutGates, field: FieldEvidence, judging: Judging): GateVerdict[] {
  const { variants } = field;
  if (variants === undefined) return judgeOne(gates, field, judging);
  return judgeEach(variants, gates, ({ wave, all }, shared) => {
    const verdicts = judgeOne(shared, { ...field, wave: wave ?? all, all }, judging);
    // What devices of former waves have can fail the wave still, and has passed before.
    return wave === undefined ? verdicts.filter(({ verdict }) => verdict === 'failed') : verdicts;
  });
}

/** Each variant by itself. They share the false alarms, as many as there are: which of them come to be judged is no matter. */
export function judgeEach<V extends { name: string }>(
  { of, each }: { of: number; each: readonly V[] },
  gates: RolloutGates,
  judge: (variant: V, gates: RolloutGates) => GateVerdict[],
): GateVerdict[] {
  const shared = { ...gates, falseAlarms: gates.falseAlarms / Math.max(1, of) };
  const judged = each.flatMap((variant) => judge(variant, shared).map((verdict) => ({ name: variant.name, verdict })));
  return [...new Set(judged.map(({ verdict }) => verdict.gate))].map((gate) =>
    worstOf(judged.filter(({ verdict }) => verdict.gate === gate)),
  );
}

/** The worst first, each by its name. */
function worstOf(judged: readonly { name: string; verdict: GateVerdict }[]): GateVerdict {
  const ordered = judged.toSorted((a, b) => weightOf(b.verdict) - weightOf(a.verdict));
  const [worst] = ordered;
  if (worst === undefined) throw new RangeError('there is nothing to judge');
  const detail = ordered.map(({ name, verdict }) => `variant "${name}": ${verdict.detail}`).join('; ');
  const variants = judged.map(({ name, verdict: { verdict, detail, numbers } }) => ({
    name,
    verdict,
    detail,
    numbers,
  }));
  return { ...worst.verdict, detail, variants };
}

function judgeOne(gates: RolloutGates, field: FieldEvidence, { waves, alone = false }: Judging): GateVerdict[] {
  const alpha = alphaOf(gates, waves);
  const verdicts = testsOf(gates, field).map(({ gate, mode, judge }) => {
    const wave = judge(field.wave, alpha.wave);
    return verdictFrom(gate, worseOf(wave, waves === 1 || alone ? undefined : judge(field.all, alpha.all)), mode);
  });
  return [...new Set(verdicts.map(({ gate }) => gate))].map((gate) =>
    verdicts.filter((each) => each.gate === gate).reduce(strictest),
  );
}

interface Errors {
  wave: RequestCounts;
  all: RequestCounts;
}

/** As `FieldEvidence.variants`. */
export interface VariantErrors extends Omit<Errors, 'wave'> {
  name: string;
  wave: RequestCounts | undefined;
}

/** Failed requests of the new version against the bound of the plan. */
export function judgeErrors(
  gates: RolloutGates,
  evidence: Errors & { variants?: { of: number; each: readonly VariantErrors[] } },
  waves: number,
): GateVerdict {
  const { variants } = evidence;
  if (variants === undefined) return errorsOf(gates, evidence, waves);
  const [worst] = judgeEach(variants, gates, ({ wave, all }, shared) => {
    const verdict = errorsOf(shared, { wave: wave ?? all, all }, waves);
    return wave !== undefined || verdict.verdict === 'failed' ? [verdict] : [];
  });
  // Nobody says yet which variant it has.
  return worst ?? errorsOf(gates, evidence, waves);
}

function errorsOf(gates: RolloutGates, { wave, all }: Errors, waves: number): GateVerdict {
  const alpha = alphaOf(gates, waves);
  const onWave = errorRate(wave, gates, { over: 'wave', alpha: alpha.wave });
  const onAll = errorRate(all, gates, { over: 'all', alpha: alpha.all });
  return verdictFrom('error_rate', worseOf(onWave, onAll), 'gate');
}

/** Share of false alarms of one test on one wave, and on all devices so far. */
export function alphaOf(gates: RolloutGates, waves: number): { wave: number; all: number } {
  const each = gates.falseAlarms / stoppingTests(gates);
  return waves === 1 ? { wave: each, all: each } : { wave: each / 2 / waves, all: each / 2 };
}

/** Tests that may stop a rollout: both of errors, and what else is not only to warn. */
function stoppingTests({ latency, accuracy, drift }: RolloutGates): number {
  const stops = (mode: string) => mode === 'gate' || mode === 'auto';
  const latencies = stops(latency.mode) ? 1 + (latency.maxMs === undefined ? 0 : 1) : 0;
  const accuracies = stops(accuracy.mode) ? 1 + (accuracy.min === undefined ? 0 : 1) : 0;
  return 2 + latencies + accuracies + (stops(drift.mode) ? 1 : 0);
}

/** In `auto`, labels are waited for where they come soon enough. */
export function accuracyMode({ accuracy }: RolloutGates, labelsExpected: number): 'gate' | 'warn' | 'off' {
  if (accuracy.mode !== 'auto') return accuracy.mode;
  return labelsExpected >= accuracy.minLabels ? 'gate' : 'warn';
}

function testsOf(gates: RolloutGates, field: FieldEvidence): Test[] {
  const { latency, accuracy, drift, minRequests: minimum } = gates;
  const tests: Test[] = [
    { gate: 'error_rise', mode: 'gate', judge: (scope, alpha) => errorRise(scope, field, gates, alpha) },
  ];
  if (latency.mode !== 'off') {
    const { mode, maxMs } = latency;
    const judge: Judge = (scope, alpha) => latencyRise(scope, field, { ...latency, minimum, alpha });
    tests.push({ gate: 'latency', mode, judge });
    if (maxMs !== undefined) {
      const bound: Judge = (scope, alpha) => latencyBound(scope, { ...latency, maxMs, minimum, alpha });
      tests.push({ gate: 'latency', mode, judge: bound });
    }
  }
  if (accuracy.mode !== 'off') tests.push(...accuracyTests(gates, field));
  if (drift.mode !== 'off') {
    const judge: Judge = (scope, alpha) => classShift(scope, field, { ...drift, minimum, alpha });
    tests.push({ gate: 'drift', mode: drift.mode, judge });
  }
  return tests;
}

/** A plan that judges without requests waits for no labels either. Of what is not waited for, a loss that is proved still stops. */
function accuracyTests(gates: RolloutGates, field: FieldEvidence): Test[] {
  const { accuracy, minRequests } = gates;
  const { min } = accuracy;
  const auto = accuracy.mode === 'auto';
  const awaited = accuracyMode(gates, field.labelsExpected) === 'gate' && !(auto && minRequests === 0);
  const unawaited = (outcome: GateOutcome): GateOutcome =>
    outcome.verdict !== 'inconclusive' || awaited || !auto
      ? outcome
      : { ...outcome, blocking: false, detail: `${outcome.detail}; labels come too seldom to wait for them` };
  const mode = accuracy.mode === 'warn' ? 'warn' : 'gate';
  const tests: Test[] = [
    { gate: 'accuracy', mode, judge: (scope, alpha) => unawaited(accuracyLoss(scope, field, accuracy, alpha)) },
  ];
  if (min !== undefined) {
    const judge: Judge = (scope, alpha) => unawaited(accuracyBound(scope, { ...accuracy, min }, alpha));
    tests.push({ gate: 'accuracy', mode, judge });
  }
  return tests;
}

const severity = { failed: 3, inconclusive: 2, waiting: 2, passed: 1 } as const;

/** Of two verdicts of one gate, which may be judged beside the old version and below a bound. */
function strictest(a: GateVerdict, b: GateVerdict): GateVerdict {
  return weightOf(b) > weightOf(a) ? b : a;
}

function weightOf({ verdict, blocking }: GateVerdict): number {
  return severity[verdict] * (blocking === false ? 0.1 : 1);
}
