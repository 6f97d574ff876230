// What monitoring is told of the fleet and of this machine.
import { statfs } from 'node:fs/promises';
import type { ModelReport } from '@edgeloop/shared/messages';
import type { Candidate, Fleet } from '../fleet/fleet.ts';
import { conflictOf } from '../fleet/instances.ts';
import type {
  FleetFigures,
  ReadFleetFigures,
  WatchedDevice,
  WatchedModel,
} from '../monitoring/alerts/fleet-figures.ts';

export function createFleetFigures(
  fleet: Pick<Fleet, 'devices'>,
  { dataDir, now }: { dataDir: string; now: () => number },
): ReadFleetFigures {
  return async (): Promise<FleetFigures> => {
    const { bavail, blocks } = await statfs(dataDir);
    return {
      devices: [...(await fleet.devices()).values()].map((device) => watchedDevice(device, now())),
      diskFreeShare: blocks === 0 ? null : bavail / blocks,
    };
  };
}

function watchedDevice(device: Candidate, now: number): WatchedDevice {
  const { id, labels, status, lastSeenAt, conflictSince, reported, desired, instances } = device;
  const reports = new Map((reported?.models ?? []).map((each) => [each.name, each]));
  const names = new Set([...reports.keys(), ...desired.keys()]);
  return {
    ...{ id, labels, status, lastSeenAt, conflictSince },
    clockOffsetMs: reported?.clock?.offsetMs ?? null,
    takeovers: conflictOf(instances, now)?.takeovers ?? null,
    models: [...names].map((name) => watchedModel(name, reports.get(name), desired.get(name))),
  };
}

function watchedModel(
  name: string,
  report: ModelReport | undefined,
  desired: { version: number; rolloutId: string } | undefined,
): WatchedModel {
  const beside = report?.beside;
  const isBeside = beside !== undefined && (beside.state === 'running' || beside.state === 'suspended');
  const candidate = report?.candidate;
  const why = candidate?.error === undefined ? '' : `${candidate.error.code}: ${candidate.error.message}`;
  return {
    name,
    running: [...(report?.active ? [report.active.version] : []), ...(isBeside ? [beside.version] : [])],
    failed: candidate?.state === 'failed' ? { version: candidate.version, why } : null,
    desired: desired === undefined ? null : { version: desired.version, rolloutId: desired.rolloutId },
  };
}
