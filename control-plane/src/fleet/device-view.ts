// A device as the API shows it, from its row and from what is known beside it. Pure.
import type { Device } from '@edgeloop/shared/api/devices';
import type { DisregardedRow } from './claim-store.ts';
import { isConflicting, problemsOf } from './device-problems.ts';
import type { DesiredRow, DeviceRow } from './fleet-store.ts';
import { conflictOf } from './instances.ts';
import type { NamedRelease } from './unknown-releases.ts';

/** What other tables say of a device. */
export interface Beside {
  desired: readonly DesiredRow[];
  unknown: readonly NamedRelease[];
  disregarded: readonly DisregardedRow[];
  now: number;
}

export function toDevice(row: DeviceRow, { desired, unknown, disregarded, now }: Beside): Device {
  const { reported, desiredGeneration } = row;
  const conflicting = isConflicting(row);
  const identityConflict = conflictOf(row.instances, now);
  const clock = reported?.clock ?? null;
  return {
    id: row.id,
    labels: row.labels,
    status: row.status,
    lastSeenAt: row.lastSeenAt,
    enrolledAt: row.enrolledAt,
    revokedAt: row.revokedAt,
    readmittedAt: row.readmittedAt,
    facts: row.facts,
    desiredGeneration,
    reportedGeneration: reported?.generation ?? null,
    conflicting,
    desired: desired.map(({ model, version, release, rolloutId }) => ({ name: model, version, release, rolloutId })),
    models: reported?.models ?? [],
    unknownReleases: unknown.map(({ model, version, release }) => ({
      name: model,
      version,
      release: release === '' ? null : release,
    })),
    problems: problemsOf({
      ...{ id: row.id, reported, desiredGeneration, conflicting, identityConflict, unknown, disregarded, now },
    }),
    outbox: reported?.outbox ?? null,
    clock: clock && { offsetMs: clock.offsetMs, measuredAt: clock.measuredAt },
    identityConflict,
    usage: reported?.usage ?? null,
  };
}
