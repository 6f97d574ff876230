// The simulated fleets of benches: joined, and told to run the model of simulated devices.
import { CreatedJoinToken } from '@edgeloop/shared/api/access';
import { Rollout } from '@edgeloop/shared/api/rollouts';
import { SimulatedFleet } from '../../control-plane/src/simulate/fleet.ts';
import { type RunModel, runModelOf } from '../../control-plane/src/simulate/model.ts';
import { type FleetSettings, noFaults } from '../../control-plane/src/simulate/settings.ts';
import type { ControlPlane } from '../support/programs.ts';
import { heard, type Scrape } from './plane-figures.ts';

const settleMs = 20 * 60_000;

/** What benches have in common; `model` with its classes and reference says what windows hold. */
export function benchSettings(
  changes: Pick<FleetSettings, 'run' | 'joinToken' | 'model' | 'outboxItems'>,
): FleetSettings {
  return {
    ...{ labels: {}, seed: 1, requestsPerMinute: 60, dayMs: 86_400_000, activateMs: 50, reportMs: 180_000 },
    ...{ faults: noFaults, ...changes },
  };
}

/** Resolves when the control plane has heard of all. */
export async function joinFleet(
  plane: ControlPlane,
  fleet: SimulatedFleet,
  settings: Pick<FleetSettings, 'run' | 'model' | 'outboxItems'>,
  scrape: Scrape,
): Promise<void> {
  const { token } = await plane.api.send('POST', '/join-tokens', CreatedJoinToken, { uses: fleet.devices });
  await fleet.join(benchSettings({ ...settings, joinToken: token }));
  await heard(scrape, fleet.devices);
}

/** A fleet that runs the model of simulated devices; its windows count. `joined` times the joining. */
export async function readyFleet(
  plane: ControlPlane,
  { devices, outboxItems, timeoutMs = settleMs }: { devices: number; outboxItems?: number; timeoutMs?: number },
  joined: (join: (scrape: Scrape) => Promise<void>) => Promise<unknown>,
): Promise<{ fleet: SimulatedFleet; what: RunModel }> {
  const fleet = new SimulatedFleet(devices);
  try {
    const what = await runModelOf(plane.api, undefined);
    await joined((scrape) => joinFleet(plane, fleet, { run: 'bench', model: what.model, outboxItems }, scrape));
    await runEverywhere(plane, what);
    const all = await fleet.until(({ serving }) => serving[what.version] === devices, { timeoutMs });
    if (!all) throw new Error('not all devices were told what to run');
    return { fleet, what };
  } catch (error) {
    fleet.kill();
    throw error;
  }
}

export async function runEverywhere(plane: ControlPlane, { model, version }: RunModel): Promise<void> {
  const plan = { waves: [{ percent: 100 }], bakeSeconds: 0, gates: { minRequests: 0 } };
  await plane.api.send('POST', '/rollouts', Rollout, { model: model.name, version, ...plan });
}
