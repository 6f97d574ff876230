// Alerts that start runs: once per cause, with a cool-down, and never silently without one.
import { type Alert, isSensorFault } from '@edgeloop/shared/api/alerts';
import type { PipelineSpec } from '@edgeloop/shared/api/training';
import { recordAudit } from '../../access/audit.ts';
import type { Transaction } from '../../database/open.ts';
import type { TrainingDeps } from '../dependencies.ts';
import type { PipelineStore } from '../pipeline-store.ts';
import { newRun } from './new-run.ts';
import { hasEnded } from './run-state.ts';
import type { RunStore, StoredRun } from './run-store.ts';

type Deps = Pick<TrainingDeps, 'database' | 'now' | 'log'> & { pipelines: PipelineStore; runs: RunStore };

/** What became of an alert at one pipeline. `repeated`: this cause has started a run before. */
type Outcome =
  | { kind: 'started'; pipeline: string; runId: string }
  | { kind: 'skipped'; pipeline: string; reason: string }
  | { kind: 'repeated'; pipeline: string; runId: string }
  /** It was passed over before. */
  | { kind: 'known'; pipeline: string };

/** Starts runs of the model's pipelines that want it. Gives the ids of the new runs, and of all that the alert has started. */
export function createTriggers({ database, now, log, pipelines, runs }: Deps) {
  /** Pipelines and alerts whose skipping is in the audit log. */
  const skipped = new Set<string>();

  async function trigger(tx: Transaction, spec: PipelineSpec, alert: Alert): Promise<Outcome> {
    const pipeline = spec.name;
    const causeKey = `alert:${alert.id}`;
    // A fault that turns out to be wider is another matter.
    if (skipped.has(skipKey(pipeline, alert))) return { kind: 'known', pipeline };
    const former = await runs.ofCause(tx, pipeline, causeKey);
    if (former !== undefined) return { kind: 'repeated', pipeline, runId: former.id };
    const reason = faultText(alert) ?? holdBack(await runs.newestTriggered(tx, pipeline), spec, now());
    const about = { at: now(), actor: 'system', subject: `pipeline/${pipeline}` };
    if (reason !== undefined) {
      const after = { alertId: alert.id, reason };
      await recordAudit(database.tables, tx, { ...about, action: 'pipeline.trigger.skip', after });
      return { kind: 'skipped', pipeline, reason };
    }
    const cause = { kind: 'alert', alertId: alert.id, since: alert.startedAt } as const;
    const run = newRun(spec, { cause, causeKey, seed: spec.seed, at: now() });
    if (!(await runs.insert(tx, run))) return { kind: 'known', pipeline };
    const after = { alertId: alert.id, runId: run.id };
    await recordAudit(database.tables, tx, { ...about, action: 'pipeline.trigger', after });
    return { kind: 'started', pipeline, runId: run.id };
  }

  return async (alert: Alert): Promise<{ started: string[]; runs: string[] }> => {
    const outcomes = await database.transact(async (tx) => {
      const all = await pipelines.list(tx, {});
      const results: Outcome[] = [];
      for (const { spec } of all) if (wants(spec, alert)) results.push(await trigger(tx, spec, alert));
      return results;
    });
    for (const outcome of outcomes) {
      if (outcome.kind === 'skipped') skipped.add(skipKey(outcome.pipeline, alert));
      if (outcome.kind === 'started' || outcome.kind === 'skipped')
        log.info({ alert: alert.id, ...outcome }, 'an alert reached a pipeline');
    }
    return {
      started: outcomes.flatMap((outcome) => (outcome.kind === 'started' ? [outcome.runId] : [])),
      runs: outcomes.flatMap((outcome) => ('runId' in outcome ? [outcome.runId] : [])),
    };
  };
}

function wants({ model, trigger }: PipelineSpec, alert: Alert): boolean {
  if (model !== alert.model || alert.kind === 'metric') return false;
  return alert.kind === 'drift' ? trigger.onDrift : trigger.onAccuracy;
}

function skipKey(pipeline: string, alert: Alert): string {
  return `${pipeline} alert:${alert.id} ${faultText(alert) === undefined ? 'world' : 'fault'}`;
}

/** Why there is nothing to learn from what the alert tells, or undefined. */
function faultText({ kind, scope }: Alert): string | undefined {
  if (kind !== 'drift' || !isSensorFault(scope)) return undefined;
  const [fault] = scope.faults ?? [];
  const what = fault === undefined ? '' : `: ${fault.signal} of ${fault.device} seems ${fault.kind} (${fault.detail})`;
  return `a sensor fault, not a change of the world${what}; start a run by hand if it is one`;
}

/** Why another run would be one too many, or undefined. */
function holdBack(newest: StoredRun | undefined, { trigger }: PipelineSpec, at: number): string | undefined {
  if (newest === undefined) return undefined;
  if (!hasEnded(newest.state)) return `run ${newest.id}, which another alert started, has not ended`;
  const left = newest.createdAt + trigger.cooldownSeconds * 1000 - at;
  return left > 0 ? `run ${newest.id} is too recent: the cool-down lasts ${Math.ceil(left / 1000)} s more` : undefined;
}
