// Builds the rooms and hands each the words of others that it needs. Nothing runs yet.
import { join } from 'node:path';
import type { Rollout, RolloutPlan } from '@edgeloop/shared/api/rollouts';
import type { RunDetail } from '@edgeloop/shared/api/training';
import { AppError } from '@edgeloop/shared/errors';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import { type Backtests, createBacktests } from '../backtests/backtests.ts';
import { createData } from '../data/data.ts';
import { createMonitoring, type Monitoring } from '../monitoring/monitoring.ts';
import { createRegistry, type Registry } from '../registry/registry.ts';
import { createRollouts, type Rollouts } from '../rollouts/rollouts.ts';
import { createTelemetry, type Telemetry } from '../telemetry/telemetry.ts';
import { createTraining, type Training } from '../training/training.ts';
import { buildDeviceAccess, type Ports } from './device-access.ts';
import { createFleetFigures } from './fleet-figures.ts';
import type { Foundation } from './foundation.ts';
import type { Exporting } from './open-telemetry.ts';

export type Rooms = Awaited<ReturnType<typeof buildRooms>>;

export async function buildRooms(base: Foundation, ports: Ports) {
  const { config, database, authority, now, blobs, metrics, events } = base;
  const { notify } = events;
  const { dataDir } = config;
  const common = (room: string) => ({ database, blobs, now, notify, log: base.log.child({ room }) });

  const access = await buildDeviceAccess(base, {
    ports,
    notify,
  });
  const { fleet } = access;
  const registry = createRegistry({ ...common('registry'), signRelease: authority.ring.signRelease, dataDir });
  const telemetry: Telemetry = createTelemetry({
    ...common('telemetry'),
    metrics: metrics.registry,
    keep: config.keep,
    claims: fleet.claims,
    devicesMatching: async (selector) => new Set((await fleet.matching(selector)).map(({ id }) => id)),
    knownDevices: fleet.devices,
    rollupLabels: config.chartLabels,
    driftSeries: (query) => monitoring.driftSeries(query),
  });
  const data = createData({
    ...common('data'),
    scratchDir: join(dataDir, 'tmp', 'data'),
    metrics: metrics.registry,
    claims: fleet.claims,
    featuresOf: registry.featureNames,
    featureCount: registry.featureCount,
    labelled: telemetry.labelled,
  });
  const backtests: Backtests = createBacktests({
    ...common('backtests'),
    ...{ fleet, registry, samples: data },
    scratchDir: join(dataDir, 'tmp', 'backtests'),
    ended: () => rollouts.wake(),
  });
  const rollouts: Rollouts = createRollouts({
    ...common('rollouts'),
    fleet,
    registry,
    evidence: telemetry.evidence,
    evidenceVersion: telemetry.storedOf,
    field: telemetry.fieldEvidence,
    traffic: telemetry.traffic,
    backtests,
    sendSpans: base.exporting?.send,
  });
  const monitoring: Monitoring = createMonitoring({
    ...common('monitoring'),
    webhookAllow: config.webhookAllow,
    telemetry,
    reference: (model, version) => referenceOf(registry, model, version),
    deviceLabels: async () => new Map((await fleet.matching([])).map(({ id, labels }) => [id, labels])),
    fleetFigures: createFleetFigures(fleet, { dataDir, now }),
    links: {
      run: (id) => known(async () => runLink(await training.run(id))),
      rollout: (id) => known(async () => rolloutLink(await rollouts.detail(id, { devices: 'none' }))),
    },
    onFiring: (alert) => training.onAlert(alert),
  });
  const training: Training = createTraining({
    ...common('training'),
    data,
    registry,
    dataDir,
    deployed: (model) => fleet.deployed(model),
    release: (model, version, plan, runId) =>
      releaseOnce(rollouts, { ...{ model, version, plan, runId }, begin: base.exporting?.begin }),
  });
  return { ...access, registry, telemetry, rollouts, monitoring, data, backtests, training };
}

/** Devices may report what was never registered here. */
function referenceOf(registry: Registry, model: string, version: number): Promise<ReferenceProfile | undefined> {
  return known(async () => (await registry.version(model, version)).manifest.monitoring.reference);
}

/** Undefined for what is not there. */
async function known<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof AppError && error.code === 'not_found') return undefined;
    throw error;
  }
}

function runLink({ createdAt, pipeline, status, rolloutId }: RunDetail) {
  return { at: createdAt, summary: `run of pipeline ${pipeline}: ${status}`, rolloutId };
}

function rolloutLink({ createdAt, createdBy, model, version, state }: Rollout) {
  return { at: createdAt, summary: `rollout of ${model} ${version} by ${createdBy}: ${state.phase}` };
}

interface Released {
  model: string;
  version: number;
  plan: RolloutPlan;
  runId: string;
  /** Where traces are exported. */
  begin: Exporting['begin'] | undefined;
}

/** The rollout of a training run: the one that it has started before, or a new one. */
async function releaseOnce(rollouts: Rollouts, { model, version, plan, runId, begin }: Released): Promise<string> {
  const actor = `run:${runId}`;
  const { items } = await rollouts.list({ model, limit: 100 });
  const earlier = items.find((rollout) => rollout.createdBy === actor && rollout.version === version);
  if (earlier !== undefined) return earlier.id;
  const traceparent = begin?.('release by a run', { 'edgeloop.run.id': runId, 'edgeloop.model': model });
  return (await rollouts.create(actor, { ...plan, model, version }, traceparent)).id;
}
