// What monitoring is told of the fleet and of the machine, beside telemetry.
import type { DeviceStatus } from '@edgeloop/shared/api/devices';
import type { Labels } from '@edgeloop/shared/selector';

export interface WatchedDevice {
  id: string;
  labels: Labels;
  status: DeviceStatus;
  lastSeenAt: number | null;
  /** Since when it follows a state that this server never gave. */
  conflictSince: number | null;
  /** How far its clock is off; null: not known. */
  clockOffsetMs: number | null;
  /** How often a session of this identity was taken over by another; null: not known. */
  takeovers: number | null;
  models: readonly WatchedModel[];
}

export interface WatchedModel {
  name: string;
  /** Versions that answer requests, or run beside what does. */
  running: readonly number[];
  /** A version that failed there and is not tried again. */
  failed: { version: number; why: string } | null;
  /** What it should run, by whose word. */
  desired: { version: number; rolloutId: string } | null;
}

export interface FleetFigures {
  devices: readonly WatchedDevice[];
  /** Free part of the disk of the data folder; null: not known. */
  diskFreeShare: number | null;
}

export type ReadFleetFigures = () => Promise<FleetFigures>;

/** Rollouts by whose word devices should run the version. */
export function rolloutsOf({ devices }: FleetFigures, model: string, version: number): string[] {
  const wanted = devices.flatMap(({ models }) => models).filter(({ name }) => name === model);
  return unique(
    wanted.flatMap(({ desired }) => (desired?.version === version ? [withoutAttempt(desired.rolloutId)] : [])),
  );
}

export function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

/** Another try of a rollout has a suffix. */
function withoutAttempt(rolloutId: string): string {
  return rolloutId.replace(/\.\d+$/, '');
}
