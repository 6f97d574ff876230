// Operators: whatever people may say to rollouts and devices, at any moment. What they are refused, for a rollout is over or a device
// removed, changes nothing.
import { RolloutCreate, type RolloutState } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import { parseSelector } from '@edgeloop/shared/selector';
import { facts } from '../../control-plane/src/fleet/device-fixture.ts';
import type { SimulatedServer } from '../../control-plane/src/rollouts/server-fixture.ts';
import type { Dice } from '../../control-plane/src/simulate/dice.ts';
import type { SimulatedControlPlane } from './control-plane.ts';
import type { SimulatedDevice } from './device.ts';
import type { Ledger } from './ledger.ts';
import type { SimulatedVersion } from './releases.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface OperatorWorld {
  time: VirtualTime;
  dice: Dice;
  plane: SimulatedControlPlane;
  devices: ReadonlyMap<string, SimulatedDevice>;
  versions: readonly SimulatedVersion[];
  ledger: Ledger;
}

const weights = { create: 5, say: 6, relabel: 2, remove: 0.5, readmit: 2, resolve: 4, hold: 1, rotate: 0.7 };
const actor = 'key:test';
const words = ['approve', 'pause', 'resume', 'retry', 'cancel', 'take_back', 'rollback'] as const;
type Word = (typeof words)[number];
const sayable: Partial<Record<RolloutState['phase'], readonly Word[]>> = {
  awaiting_approval: ['approve', 'approve', 'cancel'],
  running: ['pause', 'cancel', 'cancel', 'take_back', 'rollback'],
  paused: ['resume', 'retry', 'retry', 'cancel', 'rollback'],
  completed: ['rollback', 'retry'],
  cancelled: ['rollback'],
};
export const sites = ['a', 'b', 'c'];

export class Operator {
  readonly #world: OperatorWorld;

  constructor(world: OperatorWorld) {
    this.#world = world;
  }

  /** Something, at random. */
  act(): void {
    const { dice, plane } = this.#world;
    const what = dice.kind(weights);
    plane.ask((server) => this.#attempt(() => this.#do(what, server)));
  }

  async #do(what: keyof typeof weights, server: SimulatedServer): Promise<void> {
    switch (what) {
      case 'create':
        return this.create(server);
      case 'say':
        return this.#say(server);
      case 'relabel':
        return this.#relabel(server);
      case 'remove':
        return this.#remove(server);
      case 'readmit':
        return this.readmitAll(server, 1);
      case 'resolve':
        return this.#resolve(server, this.#world.dice.chance(0.5) ? 'follow' : 'keep');
      case 'hold':
        return this.#hold();
      case 'rotate':
        return this.#rotate(server);
    }
  }

  /** A refusal is an answer. */
  async #attempt(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof AppError) || !['conflict', 'not_found', 'forbidden'].includes(error.code)) throw error;
      this.#world.ledger.note('refused');
    }
  }

  async create(server: SimulatedServer, only?: SimulatedVersion): Promise<void> {
    const { dice, versions, ledger } = this.#world;
    const { model, version, behaviour } = only ?? dice.pick(versions);
    const asked = RolloutCreate.parse({
      ...{ model, version, bakeSeconds: dice.pick([0, 5, 20]), deployTimeoutSeconds: dice.pick([30, 60, 120]) },
      selector: dice.pick(['', '', '', 'site=a', 'site in (a,b)']),
      waves: dice.pick([
        [{ percent: 100 }],
        [{ percent: 20 }, { percent: 60 }, { percent: 100 }],
        [{ devices: 1 }, { percent: 100 }],
        [{ selector: 'site=b' }, { percent: 100 }],
        [{ percent: 30, kind: 'shadow' }, { percent: 60 }, { percent: 100 }],
        [{ devices: 2, kind: 'split', share: 0.2 }, { percent: 100 }],
      ]),
      gates: {
        ...{ minRequests: dice.pick([0, 0, 20, 100]), evidenceTimeoutSeconds: 120 },
        maxFailedDevices: dice.pick([0, 0.1, 0.3]),
        ...{ latency: { mode: 'off' }, drift: { mode: 'off' } },
      },
      onFailure: dice.pick(['rollback', 'rollback', 'pause']),
      rollbackOf: dice.pick(['touched', 'touched', 'all']),
      offlineDevices: dice.pick(['skip', 'skip', 'wait']),
      offlineAfterSeconds: dice.pick([0, 10, 60]),
      offlineWaitSeconds: dice.pick([60, 600]),
      approval: dice.chance(0.15),
      follow: dice.chance(0.8),
      priority: dice.pick([0, 0, 0, 10, -10]),
      ...(dice.chance(0.2) ? { spread: 'site' } : {}),
      ...(dice.chance(0.15) ? { rate: { start: 5, factor: 2, growAfter: 2 } } : {}),
      ...(dice.chance(0.15) ? { maxUnavailable: { label: 'site', devices: 2 } } : {}),
      ...(dice.chance(0.2) ? { maxHoldSeconds: 20 } : {}),
      ...(dice.chance(0.15) ? { windows: { [dice.pick(['fetch', 'activate'])]: [this.#windowSoon()] } } : {}),
    });
    const { id } = await server.rollouts.create(actor, asked);
    ledger.note(
      'create',
      `${id} ${model} ${version} (${behaviour}) ${asked.selector} ${JSON.stringify(asked.waves)}${asked.follow ? '' : ', not followed'}`,
    );
  }

  /** Opens within some minutes, for hours. */
  #windowSoon() {
    const { time, dice } = this.#world;
    return { from: timeOfDay(time.nowMs + dice.between(0, 240_000)), to: timeOfDay(time.nowMs + 4 * 3_600_000) };
  }

  async #say(server: SimulatedServer): Promise<void> {
    const { dice } = this.#world;
    const rollouts = (await server.rolloutsByAge()).slice(-6);
    const rollout = rollouts.length === 0 ? undefined : dice.pick(rollouts);
    if (rollout === undefined) return;
    const { phase } = rollout.state;
    // Mostly what makes sense, and anything at times.
    const sensible = sayable[phase] ?? words;
    await this.say(server, rollout.id, dice.pick(dice.chance(0.8) ? sensible : words));
  }

  async say(server: SimulatedServer, id: string, word: Word): Promise<void> {
    const { ledger } = this.#world;
    const { rollouts } = server;
    // Devices are told before this is over.
    if (word === 'retry') ledger.retried(id);
    if (word === 'rollback' || word === 'take_back') ledger.takenBack(id);
    const said =
      word === 'approve'
        ? await rollouts.approve({ name: actor, role: 'admin' }, id, '')
        : await rollouts.act(actor, id, word, '');
    const { phase } = said.state;
    ledger.note(word, `${id}: ${phase}`);
    if (phase !== 'cancelled') return;
    const keepers = [...(await server.fleet.devices()).values()].filter((device) => {
      const own = [...device.desired].find(([, { rolloutId }]) => rolloutId === id);
      if (own === undefined) return false;
      const active = device.reported?.models.find(({ name }) => name === own[0])?.active;
      if (active?.release !== own[1].release)
        throw new Error(`${device.id} is left to a cancelled rollout and does not run its version`);
      return true;
    });
    ledger.cancelled(id, new Set(keepers.map((device) => device.id)));
  }

  #any(): SimulatedDevice {
    return this.#world.dice.pick([...this.#world.devices.values()]);
  }

  async #relabel(server: SimulatedServer): Promise<void> {
    const { dice, ledger } = this.#world;
    const { id } = this.#any();
    const labels = { site: dice.pick(sites) };
    await server.fleet.relabel(actor, id, labels);
    ledger.note('relabel', `${id} ${labels.site}`);
  }

  async #remove(server: SimulatedServer): Promise<void> {
    const { plane, ledger } = this.#world;
    const { id } = this.#any();
    plane.removed(id);
    ledger.note('remove', id);
    ledger.estranged.add(id);
    await server.enrolment.remove(actor, id);
  }

  /** Removed devices come again. */
  async readmitAll(server: SimulatedServer, most: number): Promise<void> {
    const { time, plane, ledger, devices, dice } = this.#world;
    let left = most;
    for (const { id } of devices.values()) {
      if (left === 0 || (await server.isIn(id))) continue;
      left -= 1;
      await server.enrolment.readmit(actor, id);
      const labels = { site: dice.pick(sites) };
      await server.enrol({ deviceId: id, csr: `${id} at ${time.nowMs}`, labels, facts });
      ledger.note('rejoin', id);
      ledger.decided(id, 'follow');
      plane.joined(id);
    }
  }

  async #resolve(server: SimulatedServer, decision: 'follow' | 'keep'): Promise<void> {
    const conflicting = await this.conflicting(server);
    if (conflicting.length > 0) await this.resolve(server, this.#world.dice.pick(conflicting), decision);
  }

  async conflicting(server: SimulatedServer): Promise<string[]> {
    const devices = [...(await server.fleet.devices()).values()];
    return devices.flatMap(({ id, conflictSince }) => (conflictSince === null ? [] : [id]));
  }

  async resolve(server: SimulatedServer, id: string, decision: 'follow' | 'keep'): Promise<void> {
    this.#world.ledger.decided(id, decision);
    if (decision === 'keep') this.#world.ledger.estranged.add(id);
    this.#world.ledger.note(decision, id);
    if (decision === 'keep') this.#world.ledger.keeps(id, (await server.rolloutsByAge()).at(-1)?.id ?? '');
    await server.fleet.resolve(actor, { id }, decision);
  }

  /** Software on a device. */
  async #hold(): Promise<void> {
    const { dice, time, ledger } = this.#world;
    const device = this.#any();
    const untilMs = Math.round(time.nowMs + device.clockAheadMs + dice.between(1000, 60_000));
    device.holdBack({ reason: 'busy', untilMs });
    ledger.note('hold', device.id);
  }

  /** Other keys sign for the fleet; devices that are away hear of it late. */
  async #rotate(server: SimulatedServer): Promise<void> {
    const { dice, ledger } = this.#world;
    const retires = dice.chance(0.4);
    ledger.note(retires ? 'retire keys' : 'renew key');
    if (retires) await server.retireKeys();
    else await server.renewKey();
  }

  /** What somebody does who wants to see all of it end. */
  tidyUp(): void {
    const { plane } = this.#world;
    plane.ask(async (server) => {
      await this.readmitAll(server, this.#world.devices.size);
      for (const id of await this.conflicting(server)) await this.#attempt(() => this.resolve(server, id, 'follow'));
      for (const { id, state, plan } of await server.rolloutsByAge()) {
        const isAlone =
          state.phase === 'running' && (await server.fleet.matching(parseSelector(plan.selector))).length === 0;
        // It waits for devices that match, as long as it takes.
        if (isAlone) await this.#attempt(() => this.say(server, id, 'cancel'));
        const word =
          state.phase === 'awaiting_approval'
            ? 'approve'
            : state.phase === 'paused'
              ? wordFor(state.reason)
              : undefined;
        if (word !== undefined) await this.#attempt(() => this.say(server, id, word));
      }
    });
  }
}

/** As the clocks of devices show it, which are in the zone of this machine. */
function timeOfDay(ms: number): string {
  const at = new Date(ms);
  return [at.getHours(), at.getMinutes()].map((each) => String(each).padStart(2, '0')).join(':');
}

/** What stopped for a failure is taken back, and what was stopped by hand goes on. */
function wordFor(reason: string): Word {
  return reason.startsWith('paused') ? 'resume' : 'rollback';
}
