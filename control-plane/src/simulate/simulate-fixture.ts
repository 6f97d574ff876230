// Settings of a simulated fleet for tests.
import { ownManifest, ownModelName } from './model.ts';
import { type FleetSettings, noFaults } from './settings.ts';

export function settingsOf(changes: Partial<FleetSettings> = {}): FleetSettings {
  const { outputs, monitoring } = ownManifest();
  return {
    ...{ run: 'test', labels: {}, joinToken: '', seed: 1, requestsPerMinute: 600 },
    ...{ dayMs: 86_400_000, activateMs: 10, reportMs: 60_000, faults: noFaults },
    model: { name: ownModelName, classes: outputs?.labels ?? [], reference: monitoring.reference },
    ...changes,
  };
}
