// What is watched of a version: against which reference, by which rules, which signals can be judged and how small a shift would be
// seen, and how well it answers.
import type { AlertRule } from '@edgeloop/shared/api/alert-rules';
import type { MonitoringReport } from '@edgeloop/shared/api/monitoring';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { RulesStore } from '../alerts/rules-store.ts';
import { firstPeriod, type References } from '../references/references.ts';
import { estimateAccuracy, expectedAccuracy, lossBetween, wilson } from '../statistics/accuracy.ts';
import { falseAlarmsPerMonthOf } from '../statistics/budget.ts';
import { graceMs } from './due-windows.ts';
import type { Evaluation, EvaluationStore } from './evaluation-store.ts';

interface ReportDeps {
  telemetry: Pick<Telemetry, 'merged' | 'labelsBetween' | 'labelledNumbers'>;
  references: References;
  manifest: (model: string, version: number) => Promise<ReferenceProfile | undefined>;
  rulesStore: Pick<RulesStore, 'rules'>;
  evaluationStore: Pick<EvaluationStore, 'evaluationsBetween'>;
  now: () => number;
}

type DriftRule = AlertRule & { spec: Extract<AlertRule['spec'], { kind: 'drift' }> };
type WatchedRule = MonitoringReport['rules'][number];

const day = 86_400_000;
/** Windows that are looked back on for the last one that could be judged. */
const lookback = 100;
const hour = 3600;

export function createReport({ telemetry, references, manifest, rulesStore, evaluationStore, now }: ReportDeps) {
  return async function report(model: string, version: number): Promise<MonitoringReport> {
    const rules = (await rulesStore.rules()).filter(isDriftRule).filter(({ spec }) => spec.model === model);
    const reference = await references.info(model, version);
    return {
      ...{ model, version, reference },
      collecting: reference === null ? await collecting({ model, version }, rules) : null,
      rules: await Promise.all(rules.map((rule) => watched(rule, version))),
      performance: await performance(model, version),
    };
  };

  async function collecting(subject: { model: string; version: number }, rules: readonly DriftRule[]) {
    const seconds = rules[0]?.spec.windowSeconds ?? hour;
    const { windows, samples } = await references.collect(subject, seconds);
    return { windows, samples, neededWindows: firstPeriod.windows, neededSamples: firstPeriod.samples };
  }

  async function watched({ id, spec }: DriftRule, version: number): Promise<WatchedRule> {
    const windowMs = spec.windowSeconds * 1000;
    const from = now() - Math.max(day, lookback * windowMs);
    const judged = await evaluationStore.evaluationsBetween({ ruleIds: [id], version, from, to: now() + day });
    const newest = judged.at(-1);
    return {
      ...{ ruleId: id, windowSeconds: spec.windowSeconds, falseAlarmsPerMonth: falseAlarmsPerMonthOf(spec) },
      judgedAt: newest?.windowEnd ?? null,
      verdict: newest?.verdict ?? null,
      summary: newest?.detail.summary ?? 'no window was judged yet',
      insufficientSince: insufficientSince(judged, { windowMs, now: now() }),
      signals: newest === undefined ? [] : signalsOf(newest),
    };
  }

  /** Of the last day. */
  async function performance(model: string, version: number): Promise<MonitoringReport['performance']> {
    const span = { model, version, from: now() - day, to: now() + 1 };
    const { labels, correct } = await telemetry.labelsBetween(span);
    const expected = expectedAccuracy(await references.of(model, version)) ?? null;
    const own = await manifest(model, version);
    const seen = (await telemetry.merged(span))?.window;
    const estimate = own && estimateAccuracy(own, seen?.confidence);
    // Names of classes may look like numbers.
    const classifies = own?.classes !== undefined || Object.keys(seen?.classes ?? {}).length > 0;
    return {
      ...{ from: span.from, to: span.to, labels, expected },
      accuracy: labels === 0 ? null : correct / labels,
      interval: wilson(correct, labels),
      loss: expected === null || labels === 0 ? null : lossBetween(expected, { labels, correct }),
      errors: classifies ? null : await telemetry.labelledNumbers(span),
      estimate: estimate === undefined ? null : { ...estimate, ...estimateWords },
    };
  }
}

const estimateWords = {
  method: 'an estimate from how often answers of the same confidence were right in the reference',
  caveat: 'without labels; it cannot see that the truth itself has changed',
};

function isDriftRule(rule: AlertRule): rule is DriftRule {
  return rule.spec.kind === 'drift' && rule.spec.enabled;
}

/** Windows in the order of time. The next window is given its time to come in. */
function insufficientSince(
  judged: readonly Pick<Evaluation, 'verdict' | 'windowStart' | 'windowEnd'>[],
  { windowMs, now }: { windowMs: number; now: number },
): number | null {
  const last = judged.findLast(({ verdict }) => verdict !== 'insufficient');
  if (last === undefined) return judged[0]?.windowStart ?? null;
  const isNewest = last === judged.at(-1);
  const overdue = now > last.windowEnd + windowMs + graceMs(windowMs / 1000) + windowMs;
  return isNewest && !overdue ? null : last.windowEnd;
}

function signalsOf({ detail }: Evaluation): WatchedRule['signals'] {
  const moved = new Set(detail.features.map(({ name }) => name));
  const byName = Object.entries(detail.psi).sort(([a], [b]) => (a < b ? -1 : 1));
  const judged = byName.map(([name, psi]) => ({
    ...{ name, psi, visible: detail.visible[name] ?? null },
    status: moved.has(name) ? ('moved' as const) : ('calm' as const),
  }));
  const without = (names: readonly string[], status: 'not_monitorable' | 'insufficient') =>
    names.map((name) => ({ name, status, psi: null, visible: null }));
  return [
    ...judged,
    ...without(detail.notMonitorable, 'not_monitorable'),
    ...without(detail.insufficient, 'insufficient'),
  ];
}
