// Judges one window of one rule: reads what came in, compares, and puts the outcome into words.
import type { AlertRule } from '@edgeloop/shared/api/alerts';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Labels } from '@edgeloop/shared/selector';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import { type AccuracyJudgement, judgeAccuracy } from '../statistics/accuracy.ts';
import { attribute, type Scope } from '../statistics/attribution.ts';
import { type DriftJudgement, judgeDrift, outputSignals, type SignalDrift } from '../statistics/drift.ts';
import type { Evaluation, EvaluationDetail } from './evaluation-store.ts';

export interface JudgeDeps {
  telemetry: Pick<Telemetry, 'merged' | 'mergedByDevice' | 'labelsBetween'>;
  reference: (model: string, version: number) => Promise<ReferenceProfile | undefined>;
  /** Labels of every device that is not revoked. */
  deviceLabels: () => Promise<ReadonlyMap<string, Labels>>;
}

/** A window of a rule, for one version of its model. */
export interface RuleWindow {
  rule: AlertRule;
  version: number;
  windowStart: number;
}

type Spec<K extends AlertRule['spec']['kind']> = Extract<AlertRule['spec'], { kind: K }>;
type Outcome = Pick<Evaluation, 'samples' | 'verdict' | 'detail'>;
interface Span {
  model: string;
  version: number;
  from: number;
  to: number;
}

/** Signals that are attributed to devices and listed in an alert. */
const namedSignals = 20;
const unknownScope: Scope = { kind: 'unknown', devices: [], detail: '' };

export type Judge = ReturnType<typeof createJudge>;

export function createJudge({ telemetry, reference, deviceLabels }: JudgeDeps) {
  return async function judge({ rule, version, windowStart }: RuleWindow): Promise<Evaluation> {
    const { spec } = rule;
    const windowEnd = windowStart + spec.windowSeconds * 1000;
    const span = { model: spec.model, version, from: windowStart, to: windowEnd };
    const outcome = spec.kind === 'drift' ? await drift(spec, span) : await accuracy(spec, span);
    return { ruleId: rule.id, model: spec.model, version, windowStart, windowEnd, ...outcome };
  };

  async function drift(spec: Spec<'drift'>, span: Span): Promise<Outcome> {
    const profile = await reference(span.model, span.version);
    if (profile === undefined) return insufficient('', 'the version has no reference profile to compare with');
    const merged = await telemetry.merged(span);
    if (merged === undefined) return insufficient('0', 'no windows came in');
    const evidence = String(merged.windows);
    const judged = judgeDrift(profile, merged.window, spec);
    const moved = judged.signals.filter(({ state }) => state === 'moved').slice(0, namedSignals);
    const scope = moved.length === 0 ? unknownScope : await attributed(spec, span, { profile, moved });
    return {
      samples: judged.samples,
      verdict: judged.verdict,
      detail: driftDetail(judged, { moved, scope, evidence }),
    };
  }

  async function attributed(
    spec: Spec<'drift'>,
    span: Span,
    { profile, moved }: { profile: ReferenceProfile; moved: readonly SignalDrift[] },
  ): Promise<Scope> {
    const signals = moved.map(({ name }) => name);
    const windows = await telemetry.mergedByDevice(span, new Set(signals));
    const labels = await deviceLabels();
    const devices = [...windows].map(([deviceId, observed]) => ({
      ...{ deviceId, observed },
      labels: labels.get(deviceId) ?? {},
    }));
    return attribute(profile, devices, { signals, settings: spec });
  }

  async function accuracy(spec: Spec<'accuracy'>, span: Span): Promise<Outcome> {
    const counts = await telemetry.labelsBetween(span);
    const evidence = `${counts.correct}/${counts.labels}`;
    const expected = (await reference(span.model, span.version))?.accuracy;
    if (expected === undefined) return insufficient(evidence, 'the version has no reference accuracy to compare with');
    const judged = judgeAccuracy(expected, counts, spec);
    const detail: EvaluationDetail = {
      ...{ evidence, features: [], scope: unknownScope, psi: {}, notMonitorable: [] },
      value: judged.accuracy,
      summary: accuracySummary(judged, expected),
    };
    return { samples: counts.labels, verdict: judged.verdict, detail };
  }
}

function insufficient(evidence: string, summary: string): Outcome {
  const detail = { evidence, summary, features: [], scope: unknownScope, value: null, psi: {}, notMonitorable: [] };
  return { samples: 0, verdict: 'insufficient', detail };
}

function driftDetail(
  judged: DriftJudgement,
  { moved, scope, evidence }: { moved: readonly SignalDrift[]; scope: Scope; evidence: string },
): EvaluationDetail {
  return {
    ...{ evidence, scope, notMonitorable: judged.notMonitorable },
    summary: driftSummary(judged, moved, scope),
    features: moved.map(({ name, psi, threshold }) => ({ name, psi: rounded(psi), threshold: rounded(threshold) })),
    psi: Object.fromEntries(judged.signals.map(({ name, psi }) => [name, rounded(psi)])),
    value: judged.signals.length === 0 ? null : rounded(Math.max(...judged.signals.map(({ psi }) => psi))),
  };
}

function driftSummary(judged: DriftJudgement, moved: readonly SignalDrift[], scope: Scope): string {
  const unseen = judged.notMonitorable.length;
  const note = unseen === 0 ? '' : `; ${unseen} signals move too much by themselves to be monitored`;
  const [first] = moved;
  if (first === undefined)
    return `nothing moved among ${judged.signals.length} signals in ${judged.samples} samples${note}`;
  const count = judged.signals.filter(({ state }) => state === 'moved').length;
  const names = moved.slice(0, 3).map(({ name, psi }) => `${nameForPeople(name)} (PSI ${psi.toFixed(2)})`);
  const where = scope.kind === 'fleet' ? 'the whole fleet' : scope.kind;
  return `${count} of ${judged.signals.length} signals moved, most of all ${names.join(', ')}; scope ${where}: ${scope.detail}${note}`;
}

function nameForPeople(signal: string): string {
  if (signal === outputSignals.confidence) return 'confidence';
  return signal === outputSignals.classes ? 'predicted classes' : signal;
}

function accuracySummary({ accuracy, labels, interval, bound }: AccuracyJudgement, expected: number): string {
  if (accuracy === null) return 'no labels came in';
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  return (
    `accuracy ${percent(accuracy)} of ${labels} labels (95 % interval ${percent(interval.low)} to ${percent(interval.high)}), ` +
    `expected ${percent(expected)}, bound ${percent(bound)}`
  );
}

function rounded(value: number): number {
  return Math.round(value * 10_000) / 10_000;
}
