// The steps of the demo, each one asking the API until what it waits for is seen to have happened.
import { AlertRule } from '@edgeloop/shared/api/alert-rules';
import { Alert } from '@edgeloop/shared/api/alerts';
import { DatasetVersion } from '@edgeloop/shared/api/data';
import { MetricResult } from '@edgeloop/shared/api/metrics';
import { pageOf } from '@edgeloop/shared/api/paging';
import { RolloutDetail, RolloutGates } from '@edgeloop/shared/api/rollouts';
import { Pipeline, type PipelineSpec, Run } from '@edgeloop/shared/api/training';
import { AppError } from '@edgeloop/shared/errors';
import type { ApiClient } from '../cli/client.ts';
import type { Scenario } from './corpus/scenario.ts';
import { toCsv } from './dataset.ts';
import { patienceMs, waitFor } from './wait.ts';

export const model = 'filetype';
const dataset = 'files';

export interface StepContext {
  api: ApiClient;
  signal: AbortSignal;
  /** One line for whoever watches. */
  say: (text: string) => void;
}

const pipelineSpec: PipelineSpec = {
  name: 'filetype',
  model,
  dataset,
  refreshFromField: true,
  trainer: { kind: 'mlp', parameters: {} },
  seed: 1,
  manifest: { description: 'tells a file’s type from its bytes', capture: { rate: 1, labelledRate: 1 } },
  evaluation: { minGain: 0, confidence: 0.95, minRows: 50 },
  trigger: { onDrift: true, onAccuracy: false, minLabels: 1000, cooldownSeconds: 600 },
  release: {
    selector: '',
    waves: [{ percent: 33 }, { percent: 66 }, { percent: 100 }],
    bakeSeconds: 4,
    deployTimeoutSeconds: 60,
    gates: RolloutGates.parse({ minRequests: 20, maxFailedDevices: 0, evidenceTimeoutSeconds: 60 }),
    onFailure: 'rollback',
    rollbackOf: 'touched',
    offlineDevices: 'wait',
    offlineAfterSeconds: 60,
    priority: 0,
    approval: false,
    follow: true,
  },
  timeoutSeconds: 300,
};

export async function importDataset({ api }: StepContext, scenario: Scenario): Promise<DatasetVersion> {
  const form = new FormData();
  form.set('options', JSON.stringify({ format: 'csv', label: 'label', splitColumn: 'part' }));
  form.set('file', new Blob([toCsv(scenario.featureNames, scenario.training)], { type: 'text/csv' }), 'files.csv');
  return api.send('POST', `/datasets/${dataset}/versions`, DatasetVersion, form);
}

/** Applies the pipeline and starts its first run; returns the run's id. */
export async function startFirstRun({ api }: StepContext): Promise<string> {
  await api.send('POST', '/pipelines', Pipeline, pipelineSpec);
  return (await api.send('POST', `/pipelines/${pipelineSpec.name}/runs`, Run, {})).id;
}

/** Alert rules with windows as short as the demo; the floor leaves out what moves from package to package anyway. */
export async function watchForDrift({ api }: StepContext): Promise<void> {
  const rules = await api.get('/alert-rules', pageOf(AlertRule), { limit: 100 });
  for (const rule of rules.items.filter((each) => each.spec.model === model))
    await api.send('DELETE', `/alert-rules/${rule.id}`, AlertRule);
  const common = { model, windowSeconds: 8 };
  await api.send('POST', '/alert-rules', AlertRule, { ...common, kind: 'drift', minSamples: 300, minPsi: 0.5 });
  await api.send('POST', '/alert-rules', AlertRule, { ...common, kind: 'accuracy', minLabels: 100, maxLoss: 0.1 });
}

/** Waits until a run is over. @throws AppError when it did not succeed */
export async function runToEnd({ api, signal, say }: StepContext, id: string): Promise<Run> {
  let stage = '';
  const run = await waitFor({ what: `the end of run ${id}`, timeoutMs: patienceMs, signal }, async () => {
    const seen = await api.get(`/runs/${id}`, Run);
    const now = seen.status === 'waiting_for_labels' ? 'waiting for labels' : seen.stage;
    if (now !== stage && now !== 'done') say(`  run: ${now}`);
    stage = now;
    return ['succeeded', 'rejected', 'failed', 'cancelled'].includes(seen.status) ? seen : undefined;
  });
  if (run.status !== 'succeeded')
    throw new AppError(
      'internal',
      `the training run ended as ${run.status}: ${run.error ?? run.evaluation?.detail ?? 'no reason given'}`,
    );
  return run;
}

/** Waits until a rollout is complete. @throws AppError when it ended otherwise */
export async function rolloutToEnd({ api, signal, say }: StepContext, id: string): Promise<RolloutDetail> {
  let shown = '';
  const rollout = await waitFor({ what: `the end of rollout ${id}`, timeoutMs: patienceMs, signal }, async () => {
    const seen = await api.get(`/rollouts/${id}`, RolloutDetail);
    const line =
      seen.state.phase === 'running'
        ? `wave ${seen.state.wave + 1} of ${seen.plan.waves.length}: ${seen.state.step}`
        : seen.state.phase;
    if (line !== shown) say(`  rollout: ${line}`);
    shown = line;
    return ['completed', 'paused', 'cancelled', 'superseded', 'rolled_back'].includes(seen.state.phase)
      ? seen
      : undefined;
  });
  if (rollout.state.phase !== 'completed')
    throw new AppError('internal', `the rollout did not complete: ${JSON.stringify(rollout.state)}`);
  return rollout;
}

/** The firing drift alert on a version, or undefined. */
export async function firingDrift({ api }: StepContext, version: number): Promise<Alert | undefined> {
  const { items } = await api.get('/alerts', pageOf(Alert), { model, limit: 100 });
  return items.find((alert) => alert.kind === 'drift' && alert.version === version && alert.firedAt !== null);
}

/** The run that an alert triggered. */
export async function runOfAlert({ api, signal }: StepContext, alertId: string): Promise<Run> {
  return waitFor({ what: 'a training run triggered by the alert', timeoutMs: patienceMs, signal }, async () => {
    const { items } = await api.get('/runs', pageOf(Run), { model, limit: 100 });
    return items.find((run) => run.cause.kind === 'alert' && run.cause.alertId === alertId);
  });
}

/** One number of a metric over the whole demo. */
export async function metricTotal({ api }: StepContext, metric: string, from: number): Promise<number> {
  const result = await api.get('/metrics/query', MetricResult, { metric, model, from, to: Date.now() + 60_000 });
  return result.series[0]?.points[0]?.value ?? 0;
}
