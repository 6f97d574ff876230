// What whole-system tests do with a fleet, through the API only.
import { CreatedJoinToken } from '@edgeloop/shared/api/access';
import { Device } from '@edgeloop/shared/api/devices';
import { MetricResult } from '@edgeloop/shared/api/metrics';
import { ModelVersionDetail } from '@edgeloop/shared/api/models';
import { Rollout, RolloutDetail } from '@edgeloop/shared/api/rollouts';
import { manifest, sumClassifier, versionForm } from './models.ts';
import type { Agent, ControlPlane } from './programs.ts';
import { until } from './until.ts';

export async function joinToken(plane: ControlPlane, uses = 1): Promise<string> {
  return (await plane.api.send('POST', '/join-tokens', CreatedJoinToken, { uses })).token;
}

/** Registers a version of `sumClassifier`; returns its number. */
export async function pushVersion(
  plane: ControlPlane,
  model: string,
  options: { weight?: number; bias?: number } = {},
): Promise<number> {
  const form = versionForm(sumClassifier(options), { manifest });
  return (await plane.api.send('POST', `/models/${model}/versions`, ModelVersionDetail, form)).version;
}

/** Rolls a version out to all in one wave, without waiting for evidence, and returns the rollout's id. */
export async function release(
  plane: ControlPlane,
  model: string,
  version: number,
  extra: Record<string, unknown> = {},
): Promise<string> {
  const plan = { waves: [{ percent: 100 }], bakeSeconds: 0, gates: { minRequests: 0 }, ...extra };
  return (await plane.api.send('POST', '/rollouts', Rollout, { model, version, ...plan })).id;
}

/** Waits until a rollout is in one of the phases. */
export function rolloutIn(
  plane: ControlPlane,
  id: string,
  phases: string[],
  timeoutMs = 60_000,
): Promise<RolloutDetail> {
  let last = '';
  return until(
    `rollout ${phases.join(' or ')}`,
    async () => {
      const rollout = await plane.api.get(`/rollouts/${id}`, RolloutDetail);
      last = JSON.stringify(rollout, null, 1);
      return phases.includes(rollout.state.phase) ? rollout : undefined;
    },
    { timeoutMs, context: () => last },
  );
}

/** Waits until the agent's port answers with this version. */
export async function serves(agent: Agent, model: string, version: number): Promise<void> {
  await until(
    `${agent.id} serving ${model} ${version}`,
    async () => {
      const answer = await predict(agent.url, model, { a: 1, b: 1 });
      return Number(answer.version) === version || undefined;
    },
    { timeoutMs: 60_000, context: agent.program.output },
  );
}

export async function predict(
  url: string,
  model: string,
  features: Record<string, number>,
): Promise<{ id: string; version: string; label: string }> {
  const response = await fetch(`${url}/predict/${model}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ features }),
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return response.json() as Promise<{ id: string; version: string; label: string }>;
}

/** A metric's total over the last hour. */
export async function metricTotal(
  plane: ControlPlane,
  metric: string,
  query: Record<string, string> = {},
): Promise<number> {
  const result = await plane.api.get('/metrics/query', MetricResult, {
    metric,
    to: Date.now() + 120_000,
    from: Date.now() - 3_600_000,
    ...query,
  });
  return result.series.reduce((sum, series) => sum + (series.points[0]?.value ?? 0), 0);
}

export function device(plane: ControlPlane, id: string): Promise<Device> {
  return plane.api.get(`/devices/${id}`, Device);
}
