// A monitoring room over a telemetry room, for tests: a fleet that is set by hand, and everything that alerts caused.
import type { Alert } from '@edgeloop/shared/api/alerts';
import { pino } from 'pino';
import type { openTelemetry } from '../telemetry/telemetry-fixture.ts';
import type { FleetFigures, WatchedDevice } from './alerts/fleet-figures.ts';
import { createMonitoring, type MonitoringDeps } from './monitoring.ts';

export function openMonitoring(room: ReturnType<typeof openTelemetry>, overrides: Partial<MonitoringDeps> = {}) {
  const fired: Alert[] = [];
  const fleet: { devices: WatchedDevice[]; diskFreeShare: number | null } = { devices: [], diskFreeShare: null };
  const monitoring = createMonitoring({
    ...{ database: room.database, telemetry: room.telemetry, now: room.clock.now, log: pino({ level: 'silent' }) },
    reference: async () => undefined,
    deviceLabels: async () => new Map(fleet.devices.map(({ id, labels }) => [id, labels])),
    fleetFigures: async (): Promise<FleetFigures> => ({ ...fleet }),
    links: { run: async () => undefined, rollout: async () => undefined },
    onFiring: async (alert) => {
      fired.push(alert);
      return { runs: [] };
    },
    notify: ({ type, state }) => room.events.push(`${type} ${state}`),
    ...overrides,
  });
  const stop = new AbortController();
  // Listens to telemetry; the tests look by themselves, at the time they set.
  stop.abort();
  monitoring.start(stop.signal);
  return { monitoring, fired, fleet };
}

/** An online device that runs version 1 of `m`. */
export function deviceOf(id: string, parts: Partial<WatchedDevice> & { runs?: number } = {}): WatchedDevice {
  const { runs = 1, ...rest } = parts;
  const desired = { version: runs, rolloutId: `rollout-${runs}` };
  return {
    ...{
      id,
      labels: {},
      status: 'online',
      lastSeenAt: null,
      conflictSince: null,
      clockOffsetMs: null,
      takeovers: null,
    },
    models: [{ name: 'm', running: [runs], failed: null, desired }],
    ...rest,
  };
}
