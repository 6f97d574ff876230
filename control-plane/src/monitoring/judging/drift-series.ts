// The metric `drift`: the PSI of each judged window, of the signal that moved most or of each of the strongest.
import type { DriftSeries } from '../../telemetry/telemetry.ts';
import type { RulesStore } from '../alerts/rules-store.ts';
import type { Evaluation, EvaluationStore } from './evaluation-store.ts';

/** Signals that a chart can show. */
const strongest = 20;

type Point = Awaited<ReturnType<DriftSeries>>[number];

interface DriftSeriesDeps {
  evaluationStore: EvaluationStore;
  rulesStore: RulesStore;
}

export function createDriftSeries({ evaluationStore, rulesStore }: DriftSeriesDeps): DriftSeries {
  return async ({ model, version, from, to, groupBy }) => {
    const rules = (await rulesStore.rules()).filter(
      ({ spec }) => spec.kind === 'drift' && (model === undefined || spec.model === model),
    );
    const ruleIds = rules.map(({ id }) => id);
    const judged = await evaluationStore.evaluationsBetween({ ruleIds, version, from, to });
    if (groupBy === 'feature') return bySignal(judged);
    return judged.flatMap((evaluation): Point[] => {
      const { value } = evaluation.detail;
      if (value === null) return [];
      return [{ labels: labelsOf(evaluation, { groupBy, model }), at: evaluation.windowStart, value }];
    });
  };
}

function labelsOf(
  evaluation: Evaluation,
  { groupBy, model }: Pick<Parameters<DriftSeries>[0], 'groupBy' | 'model'>,
): Record<string, string> {
  if (groupBy === 'model') return { model: evaluation.model };
  if (groupBy !== 'version') return {};
  const version = String(evaluation.version);
  return model === undefined ? { model: evaluation.model, version } : { version };
}

function bySignal(judged: readonly Evaluation[]): Point[] {
  const points = judged.flatMap(({ windowStart, detail }) =>
    Object.entries(detail.psi).map(([feature, value]) => ({ labels: { feature }, at: windowStart, value })),
  );
  const most = new Map<string, number>();
  for (const { labels, value } of points) most.set(labels.feature, Math.max(value, most.get(labels.feature) ?? 0));
  const chosen = [...most].sort(([, a], [, b]) => b - a).slice(0, strongest);
  const rank = new Map(chosen.map(([name], i) => [name, i]));
  return points
    .filter(({ labels }) => rank.has(labels.feature))
    .sort((a, b) => (rank.get(a.labels.feature) ?? 0) - (rank.get(b.labels.feature) ?? 0));
}
