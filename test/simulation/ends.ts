// Whether all has come to its end, and to the right one: asked in peace, when everybody is there.
import type { SimulatedServer } from '../../control-plane/src/rollouts/server-fixture.ts';
import type { SimulatedDevice } from './device.ts';
import { Violation } from './ledger.ts';
import { failsEverywhere, type SimulatedVersion } from './releases.ts';

type Devices = ReadonlyMap<string, SimulatedDevice>;

const over = ['completed', 'cancelled', 'superseded', 'rolled_back'];

/** Rollouts that have not ended, and devices that do not run what they should. */
export async function remaining(
  server: SimulatedServer,
  { devices, models }: { devices: Devices; models: readonly string[] },
): Promise<string[]> {
  const found: string[] = [];
  for (const { id, model, version, state } of await server.rolloutsByAge()) {
    if (over.includes(state.phase)) continue;
    const { status } = await server.rollouts.detail(id);
    found.push(`rollout ${id} of ${model} ${version} is ${state.phase}: ${status}`);
  }
  const known = await server.fleet.devices();
  for (const device of devices.values()) {
    const row = known.get(device.id);
    if (row === undefined) found.push(`${device.id} is not in the fleet`);
    else if (row.status !== 'online') found.push(`${device.id} is ${row.status}`);
    else for (const model of models) found.push(...standing(device, model, row.desired.get(model)));
  }
  return found;
}

/** What is not as it should be of one model on one device. */
function standing(
  device: SimulatedDevice,
  model: string,
  desired: { version: number; release: string } | undefined,
): string[] {
  const state = device.states.get(model);
  const extra = device.besides.get(model);
  if (extra !== undefined) return [`${device.id} still runs ${extra.slice(0, 8)} beside ${model}`];
  const answers = device.answers.get(model);
  if (desired === undefined) return answers === undefined ? [] : [`${device.id} still answers ${model}`];
  const candidate = state?.candidate ?? null;
  if (candidate?.state === 'failed' && candidate.target.release === desired.release) {
    const good = state?.active?.release;
    return answers === good
      ? []
      : [`${device.id} failed ${model} ${desired.version}, and ${answers} answers, not ${good}`];
  }
  if (answers === desired.release && candidate === null) return [];
  const doing = candidate === null ? 'at rest' : `${candidate.state} ${candidate.target.version}`;
  return [`${device.id} should run ${model} ${desired.version}, is ${doing}, and ${answers?.slice(0, 8)} answers`];
}

interface Ended {
  devices: Devices;
  /** Of the newest list of release keys. */
  keySerial: number;
  versions: readonly SimulatedVersion[];
  /** Whom nobody owes what completed there. */
  estranged: ReadonlySet<string>;
}

/** By whose word everybody has what they have. @throws Violation */
export async function checkEnd(
  server: SimulatedServer,
  { devices, versions, estranged, keySerial }: Ended,
): Promise<void> {
  const phases = new Map((await server.rolloutsByAge()).map(({ id, state }) => [id, state.phase]));
  for (const [id, { desired, desiredGeneration }] of await server.fleet.devices()) {
    const follows = devices.get(id)?.generation;
    const trusts = devices.get(id)?.trustSerial;
    require(trusts === keySerial, `${id} trusts list ${trusts} of release keys, not list ${keySerial}`);
    require(follows === desiredGeneration, `${id} follows generation ${follows}, and was told ${desiredGeneration}`);
    for (const model of estranged.has(id) ? [] : new Set(versions.map((each) => each.model))) {
      const [completed] = await server.completedOn(id, model);
      require(completed === undefined ||
        desired.has(model), `${id} lost ${model}, which ${completed} had completed on it`);
    }
    for (const [model, { rolloutId, version, release }] of desired) {
      const phase = phases.get(rolloutId);
      if (phase === undefined) continue; // What an operator let it keep.
      const what = `${id} should run ${model} ${version} by ${rolloutId}`;
      require(phase === 'completed' || phase === 'cancelled', `${what}, which is ${phase}`);
      // Who was removed and came again is owed what newcomers are.
      const [newest = ''] = estranged.has(id) ? [] : await server.completedOn(id, model);
      require(newest <= rolloutId, `${what}, and ${newest} completed on it after that`);
      const given = versions.find((each) => each.release === release);
      require(phase !== 'completed' ||
        given === undefined ||
        !failsEverywhere(given), `${what}, which fails everywhere`);
    }
  }
}

function require(holds: boolean, words: string): void {
  if (!holds) throw new Violation(words);
}
