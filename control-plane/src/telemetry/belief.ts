// What of new telemetry counts: windows and labels of releases that the device was told to run. Those of a release that is
// not registered are kept apart; those of a version that the device was never told to run are left out. Pure.
import type { Claim, Disregarded, Verdict } from '../fleet/fleet.ts';
import type { LabelRow, Stored } from './telemetry-store.ts';
import type { WindowRow } from './window-row.ts';

export interface Believed {
  /** What counts. */
  stored: Stored;
  /** Kept, and counted nowhere. */
  foreign: Pick<Stored, 'windows' | 'labels'>;
  /** All that counts nowhere, kept or not. */
  disregarded: Disregarded[];
}

type Spoken = Claim & ({ kind: 'window'; row: WindowRow } | { kind: 'label'; row: LabelRow });

export function claimsOf({ windows, labels }: Pick<Stored, 'windows' | 'labels'>): Spoken[] {
  return [
    ...windows.map((row) => ({ ...claimOf(row.deviceId, row.head), kind: 'window' as const, row })),
    ...labels.map((row) => ({ ...claimOf(row.deviceId, row), kind: 'label' as const, row })),
  ];
}

export function believe(brought: Stored, verdictOf: (claim: Claim) => Verdict): Believed {
  const stored: Stored = { ...brought, windows: [], labels: [] };
  const foreign: Believed['foreign'] = { windows: [], labels: [] };
  const tally = createTally();
  for (const claim of claimsOf(brought)) {
    const verdict = verdictOf(claim);
    if (verdict !== 'counted') tally.add(claim, verdict);
    if (verdict === 'never_assigned') continue;
    const kept = verdict === 'counted' ? stored : foreign;
    const foreignRelease = verdict === 'counted' ? null : (claim.release ?? '');
    if (claim.kind === 'window') {
      claim.row.foreignRelease = foreignRelease;
      kept.windows.push(claim.row);
    } else kept.labels.push({ ...claim.row, foreignRelease });
  }
  return { stored, foreign, disregarded: tally.entries() };
}

function claimOf(deviceId: string, { model, version, release }: Omit<Claim, 'deviceId'>): Claim {
  return { deviceId, model, version, release };
}

/** Sums by device, version and reason. */
function createTally() {
  const entries = new Map<string, Disregarded>();
  return {
    add(claim: Spoken, reason: Verdict): void {
      const { deviceId, model, version, release = '', kind } = claim;
      const what = kind === 'window' ? 'requests' : 'labels';
      const key = JSON.stringify([deviceId, what, reason, model, version, release]);
      const entry = entries.get(key) ?? { deviceId, what, reason, model, version, release, count: 0 };
      entry.count += kind === 'window' ? requestsOf(claim.row) : 1;
      entries.set(key, entry);
    },
    entries: (): Disregarded[] => [...entries.values()].filter(({ count }) => count > 0),
  };
}

function requestsOf({ head: { succeeded, failed, invalid } }: WindowRow): number {
  return succeeded + invalid + Object.values(failed).reduce((sum, count) => sum + count, 0);
}
