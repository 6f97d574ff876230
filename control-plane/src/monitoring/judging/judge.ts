// Judges one window of one rule: reads what came in, compares, and puts the outcome into words.
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Labels } from '@edgeloop/shared/selector';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { WindowRule } from '../alerts/alert-driver.ts';
import { consideredWindows } from '../alerts/alert-state.ts';
import { type Collected, firstPeriod, type References } from '../references/references.ts';
import {
  type AccuracyJudgement,
  type ExpectedAccuracy,
  expectedAccuracy,
  judgeAccuracy,
} from '../statistics/accuracy.ts';
import { type DeviceWindow, judgeFleet, type Scope, unknownScope } from '../statistics/attribution.ts';
import { settingsOf } from '../statistics/budget.ts';
import { type DriftJudgement, type Observed, outputSignals, type SignalDrift } from '../statistics/drift.ts';
import { comparedHistogram, mergedObserved } from './compared-histogram.ts';
import type { Evaluation, EvaluationDetail } from './evaluation-store.ts';

export interface JudgeDeps {
  telemetry: Pick<Telemetry, 'merged' | 'mergedByDevice' | 'labelsBetween'>;
  references: Pick<References, 'of' | 'freezeFirst'>;
  /** Labels of every device that is not revoked. */
  deviceLabels: () => Promise<ReadonlyMap<string, Labels>>;
}

/** A window of a rule, for one version of its model. */
export interface RuleWindow {
  rule: WindowRule;
  version: number;
  windowStart: number;
}

type Spec<K extends WindowRule['spec']['kind']> = Extract<WindowRule['spec'], { kind: K }>;
type Outcome = Pick<Evaluation, 'samples' | 'verdict' | 'detail'>;
interface Span {
  model: string;
  version: number;
  from: number;
  to: number;
}

/** Signals that are listed in an alert, and of how many the bins are kept. */
const namedSignals = 20;
const drawnSignals = 8;
/** Windows of single devices that are read for one judgement. */
const mostWindows = 20_000;

export type Judge = ReturnType<typeof createJudge>;

export function createJudge({ telemetry, references, deviceLabels }: JudgeDeps) {
  return async function judge({ rule, version, windowStart }: RuleWindow): Promise<Evaluation> {
    const { spec } = rule;
    const windowEnd = windowStart + spec.windowSeconds * 1000;
    const span = { model: spec.model, version, from: windowStart, to: windowEnd };
    const outcome = spec.kind === 'drift' ? await drift(spec, span) : await accuracy(spec, span);
    return { ruleId: rule.id, model: spec.model, version, windowStart, windowEnd, ...outcome };
  };

  async function drift(spec: Spec<'drift'>, span: Span): Promise<Outcome> {
    const merged = await telemetry.merged(span);
    if (merged === undefined) return insufficient('0', 'no windows came in');
    const profile =
      (await references.of(span.model, span.version)) ?? (await references.freezeFirst(span, spec.windowSeconds));
    if (!('features' in profile)) return insufficient(String(merged.windows), collectingText(profile));
    const devices = await devicesOf(spec, span, { profile, windows: merged.windows });
    const { judged, scope } = judgeFleet(profile, { merged: merged.window, devices }, settingsOf(spec));
    const moved = judged.signals.filter(({ state }) => state === 'moved').slice(0, namedSignals);
    const seen = scope.kind === 'fleet' ? merged.window : observedOn(scope.devices, devices, merged.window);
    return {
      samples: judged.samples,
      verdict: judged.verdict,
      detail: driftDetail(judged, { moved, scope, evidence: String(merged.windows), profile, seen }),
    };
  }

  /** All devices, or in turn as many as can be read in a while: each for as many windows as an alert takes. */
  async function devicesOf(
    spec: Spec<'drift'>,
    span: Span,
    { profile, windows }: { profile: ReferenceProfile; windows: number },
  ): Promise<DeviceWindow[]> {
    const labels = await deviceLabels();
    const parts = Math.ceil(windows / mostWindows);
    const turn = Math.floor(span.from / (spec.windowSeconds * 1000) / consideredWindows) % parts;
    const asked = parts <= 1 ? undefined : [...labels.keys()].sort().filter((_, i) => i % parts === turn);
    const signals = new Set(Object.keys(profile.features));
    const found = await telemetry.mergedByDevice({ ...span, devices: asked }, signals);
    return [...found].map(([deviceId, observed]) => ({ deviceId, observed, labels: labels.get(deviceId) ?? {} }));
  }

  async function accuracy(spec: Spec<'accuracy'>, span: Span): Promise<Outcome> {
    const counts = await telemetry.labelsBetween(span);
    const evidence = `${counts.correct}/${counts.labels}`;
    const expected = expectedAccuracy(await references.of(span.model, span.version));
    if (expected === undefined) return insufficient(evidence, 'the version has no reference accuracy to compare with');
    const judged = judgeAccuracy(expected, counts, spec);
    const detail: EvaluationDetail = {
      ...{ evidence, features: [], scope: unknownScope, psi: {}, visible: {}, notMonitorable: [], insufficient: [] },
      value: judged.accuracy,
      summary: accuracySummary(judged, expected),
    };
    return { samples: counts.labels, verdict: judged.verdict, detail };
  }
}

function insufficient(evidence: string, summary: string): Outcome {
  const nothing = { features: [], scope: unknownScope, value: null, psi: {}, visible: {} };
  const detail = { evidence, summary, ...nothing, notMonitorable: [], insufficient: [] };
  return { samples: 0, verdict: 'insufficient', detail };
}

interface DriftWords {
  moved: readonly SignalDrift[];
  scope: Scope;
  evidence: string;
  profile: ReferenceProfile;
  /** What the devices saw that moved. */
  seen: Observed;
}

function driftDetail(judged: DriftJudgement, { moved, scope, evidence, profile, seen }: DriftWords): EvaluationDetail {
  const figureOf = (figure: 'psi' | 'visible') =>
    Object.fromEntries(judged.signals.map((signal) => [signal.name, rounded(signal[figure])]));
  return {
    ...{ evidence, scope, notMonitorable: judged.notMonitorable, insufficient: judged.insufficient },
    summary: driftSummary(judged, moved, scope),
    features: moved.map(({ name, psi, threshold, change }, at) => {
      const histogram = at < drawnSignals ? comparedHistogram(name, profile, seen) : undefined;
      const figures = { name, psi: rounded(psi), threshold: rounded(threshold), change };
      return histogram === undefined ? figures : { ...figures, histogram };
    }),
    ...{ psi: figureOf('psi'), visible: figureOf('visible') },
    value: judged.signals.length === 0 ? null : rounded(Math.max(...judged.signals.map(({ psi }) => psi))),
  };
}

/** What the devices that moved saw; of all when none is named. */
function observedOn(ids: readonly string[], devices: readonly DeviceWindow[], all: Observed): Observed {
  const named = devices.filter(({ deviceId }) => ids.includes(deviceId));
  return named.length === 0 ? all : mergedObserved(named.map(({ observed }) => observed));
}

function driftSummary(judged: DriftJudgement, moved: readonly SignalDrift[], scope: Scope): string {
  const note = notesOn(judged);
  const [first] = moved;
  if (first === undefined) {
    if (judged.signals.length === 0)
      return `too few samples of any signal that can be judged (${judged.samples})${note}`;
    return `nothing moved among ${judged.signals.length} signals in ${judged.samples} samples${note}`;
  }
  const count = judged.signals.filter(({ state }) => state === 'moved').length;
  const names = moved
    .slice(0, 3)
    .map(({ name, psi, change }) => `${nameForPeople(name)} (PSI ${psi.toFixed(2)}, ${change})`);
  const where = scope.kind === 'fleet' ? 'the whole fleet' : scope.kind;
  const [fault] = scope.faults ?? [];
  const wrong = fault === undefined ? '' : `; ${fault.signal} of ${fault.device} seems ${fault.kind}: ${fault.detail}`;
  return `${count} of ${judged.signals.length} signals moved, most of all ${names.join(', ')}; scope ${where}: ${scope.detail}${wrong}${note}`;
}

function notesOn({ notMonitorable, insufficient }: DriftJudgement): string {
  const unseen = notMonitorable.length;
  const few = insufficient.length;
  return (
    (unseen === 0 ? '' : `; ${unseen} signals move too much by themselves to be monitored`) +
    (few === 0 ? '' : `; ${few} signals have too few samples`)
  );
}

function nameForPeople(signal: string): string {
  if (signal === outputSignals.confidence) return 'confidence';
  return signal === outputSignals.classes ? 'predicted classes' : signal;
}

function accuracySummary({ accuracy, labels, interval, loss }: AccuracyJudgement, expected: ExpectedAccuracy): string {
  if (accuracy === null) return 'no labels came in';
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const points = (share: number) => (100 * share).toFixed(1);
  return (
    `accuracy ${percent(accuracy)} of ${labels} labels (95 % interval ${percent(interval.low)} to ${percent(interval.high)}), ` +
    `expected ${percent(expected.accuracy)} from ${expected.rows} rows: a loss of ${points(loss.low)} to ${points(loss.high)} points`
  );
}

function collectingText({ windows, samples }: Collected): string {
  return (
    `a reference is being collected from the first period in the field: ${windows} of ${firstPeriod.windows} windows, ` +
    `${samples} of ${firstPeriod.samples} samples`
  );
}

function rounded(value: number): number {
  return Math.round(value * 10_000) / 10_000;
}
