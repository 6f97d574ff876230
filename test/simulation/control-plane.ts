// The simulated control plane: its database, which lasts, its backups, and the lives of the server on it.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { kindOf, type Rollout, type RolloutWave } from '@edgeloop/shared/api/rollouts';
import { Desired } from '@edgeloop/shared/messages';
import type { Authority } from '../../control-plane/src/access/authority.ts';
import type { FieldEvidence, FieldQuery } from '../../control-plane/src/gates/evidence.ts';
import { emptyArm, fieldOf } from '../../control-plane/src/gates/field-fixture.ts';
import type { RequestCounts } from '../../control-plane/src/gates/rates.ts';
import { copyDatabase, openServer, type SimulatedServer } from '../../control-plane/src/rollouts/server-fixture.ts';
import type { SimulatedDevice } from './device.ts';
import type { Ledger, PassedWave } from './ledger.ts';
import type { Network } from './network.ts';
import { failsEverywhere, type SimulatedVersion } from './releases.ts';
import { besides, type Traffic } from './traffic.ts';
import type { Life, VirtualTime } from './virtual-time.ts';

export interface ControlPlaneWorld {
  time: VirtualTime;
  network: Network;
  ledger: Ledger;
  traffic: Traffic;
  versions: readonly SimulatedVersion[];
  folder: string;
  authority: Authority;
  devices: ReadonlyMap<string, SimulatedDevice>;
}

/** Within this time what was answered has been judged. */
const seenMs = 5000;

export class SimulatedControlPlane {
  readonly #world: ControlPlaneWorld;
  #life: Life = { name: 'server', alive: false, clockAheadMs: 0 };
  #server: SimulatedServer | undefined;
  #killAtPublish = 0;
  /** Ids that may connect, as far as the present server knows; kept in step, since the network does not wait. */
  #members = new Set<string>();
  #book: ReturnType<Ledger['backup']> | undefined;
  /** Answers compared at most, by rollout and wave. */
  readonly #compared = new Map<string, number>();

  constructor(world: ControlPlaneWorld) {
    this.#world = world;
    mkdirSync(join(world.folder, 'server'), { recursive: true });
    mkdirSync(join(world.folder, 'backup'), { recursive: true });
  }

  get isAlive(): boolean {
    return this.#life.alive;
  }

  get life(): Life {
    return this.#life;
  }

  get server(): SimulatedServer | undefined {
    return this.#server;
  }

  get hasBackup(): boolean {
    return this.#book !== undefined;
  }

  /** Opens the database and listens. `first` is done before anything else. */
  boot(first?: (server: SimulatedServer) => Promise<void>): void {
    if (this.#life.alive) return;
    const life: Life = { name: 'server', alive: true, clockAheadMs: 0 };
    this.#life = life;
    this.#killAtPublish = 0;
    this.#world.time.after(0, () => void this.#start(life, first), life);
  }

  async #start(life: Life, first?: (server: SimulatedServer) => Promise<void>): Promise<void> {
    const { network, folder, authority, devices } = this.#world;
    const server = openServer({
      folder: join(folder, 'server'),
      authority,
      publish: (deviceId, channel, payload) => {
        if (channel === 'desired') this.#beforePublish(deviceId, payload);
        return this.#life === life && life.alive
          ? network.publish(life, deviceId, channel, payload)
          : new Promise(() => undefined);
      },
      disconnect: (deviceId) => network.disconnect(deviceId),
      notify: ({ type, id }) => {
        if (type !== 'rollout' || !life.alive) return;
        void this.#checkWaves(server, id).catch((error: unknown) => {
          // A server that has died says nothing.
          if (life.alive) throw error;
        });
      },
      evidence: async ({ model, version, assigned }) => this.#answered({ model, version }, assigned),
      field: async (query) => this.#fieldOf(query),
    });
    this.#server = server;
    await first?.(server);
    this.#members = new Set();
    for (const id of devices.keys()) if (await server.isIn(id)) this.#members.add(id);
    await server.start();
    network.server = { life, receive: server.receive, admits: (id) => this.#members.has(id) };
  }

  /** What devices answered with a version since each was told, also where it has a share of what another answers. */
  #answered(
    of: Pick<SimulatedVersion, 'model' | 'version'>,
    assigned: readonly { deviceId: string; since: number }[],
    agoMs = 0,
  ): RequestCounts {
    const { versions, traffic } = this.#world;
    const { release, behaviour } =
      versions.find((each) => each.model === of.model && each.version === of.version) ?? {};
    if (release === undefined) return { requests: 0, failed: 0 };
    const counts = assigned.flatMap(({ deviceId, since: sinceMs }) =>
      [of.model, besides(of.model)].map((place) => traffic.requests(deviceId, place, { release, sinceMs, agoMs })),
    );
    const requests = counts.reduce((sum, each) => sum + each, 0);
    return { requests, failed: behaviour === 'failing' ? Math.floor(requests / 2) : 0 };
  }

  /** What is seen where a version really runs beside another: the others have said nothing. */
  #fieldOf({ rolloutId, model, version, members, wave, trial }: FieldQuery): FieldEvidence | undefined {
    if (trial !== true) return undefined;
    const { versions, devices, traffic } = this.#world;
    const { release, behaviour } = versions.find((each) => each.model === model && each.version === version) ?? {};
    const running = members.filter(
      (each) => each.wave === wave && devices.get(each.deviceId)?.besides.get(model) === release,
    );
    const compared = running.map(({ deviceId }) => (traffic.rateOf(deviceId) > 1 ? 200 : 0));
    const most = Math.max(this.#compared.get(`${rolloutId} ${wave}`) ?? 0, sumOf(compared));
    this.#compared.set(`${rolloutId} ${wave}`, most);
    if (running.length === 0) return undefined;
    const answers = compared.map((trials) => ({ hits: behaviour === 'failing' ? (trials * 3) / 4 : 0, trials }));
    const sketch = emptyArm().latencyMs;
    const sketches = { difference: sketch, latencyMs: sketch, formerMs: sketch };
    const shadow = { disagreements: answers, failed: 0, skipped: 0, ...sketches };
    const rest = { ...emptyArm(), requests: compared.map((trials) => ({ hits: 0, trials })) };
    return fieldOf({ fresh: { ...emptyArm(), requests: answers, shadow }, rest });
  }

  #beforePublish(deviceId: string, payload: string): void {
    if (payload !== '' && this.#life.alive) this.#world.ledger.tells(deviceId, Desired.parse(JSON.parse(payload)));
    if (this.#killAtPublish === 0) return;
    this.#killAtPublish -= 1;
    if (this.#killAtPublish === 0) this.kill();
  }

  async #checkWaves(server: SimulatedServer, id: string): Promise<void> {
    const { ledger } = this.#world;
    const rollout = (await server.rolloutsByAge()).find((each) => each.id === id);
    if (rollout === undefined) return;
    const members = await server.members(id);
    const waves = await server.waves(id);
    for (const wave of waves)
      if (wave.outcome === 'passed')
        ledger.wavePassed(rollout, wave, this.#passedWave(rollout, wave, { waves, members }));
    const version = this.#world.versions.find(
      (each) => each.model === rollout.model && each.version === rollout.version,
    );
    if (version === undefined || !failsEverywhere(version)) return;
    // In the shadow of another it may live.
    const passed = waves.find(
      ({ outcome, wave }) => outcome === 'passed' && kindOf(rollout.plan.waves[wave]) === 'serve',
    );
    if (passed !== undefined || rollout.state.phase === 'completed')
      this.#world.ledger.passes(rollout, passed?.wave ?? 0);
  }

  #passedWave(
    { id, model, version }: Rollout,
    { wave }: RolloutWave,
    { waves, members }: { waves: readonly RolloutWave[]; members: Awaited<ReturnType<SimulatedServer['members']>> },
  ): PassedWave {
    const told = members.flatMap((each) =>
      each.wave !== wave || each.assignedAt === null ? [] : [{ deviceId: each.deviceId, since: each.assignedAt }],
    );
    const before = this.#answered({ model, version }, told, seenMs).requests;
    return {
      ...{ members, before: waves.filter((each) => each.wave < wave) },
      requests: told.length === 0 ? undefined : { now: this.#answered({ model, version }, told).requests, before },
      compared: this.#compared.get(`${id} ${wave}`) ?? 0,
    };
  }

  /** Before its nth message to a device from now on, which is after the commit that it tells of. */
  killAtPublish(n: number): void {
    this.#killAtPublish = n;
  }

  kill(backAfterMs?: number): void {
    if (!this.#life.alive) return;
    this.#life.alive = false;
    void this.#server?.closeFiles();
    this.#server = undefined;
    this.#world.network.serverDied();
    this.#world.ledger.note('server dies');
    if (backAfterMs !== undefined || this.#killAtPublish >= 0)
      this.#world.time.after(backAfterMs ?? 3000, () => this.boot(), this.#world.time.world);
  }

  backup(): void {
    copyDatabase(join(this.#world.folder, 'server'), join(this.#world.folder, 'backup'));
    this.#book = this.#world.ledger.backup();
    this.#world.ledger.note('backup');
  }

  /** The server of before takes the place of the present one, which is gone. */
  restore(): void {
    const book = this.#book;
    if (book === undefined || !this.#life.alive) return;
    const { ledger, devices, folder, time } = this.#world;
    this.#life.alive = false;
    void this.#server?.closeFiles();
    this.#server = undefined;
    this.#world.network.serverDied();
    ledger.note('restore');
    time.after(
      3000,
      () => {
        copyDatabase(join(folder, 'backup'), join(folder, 'server'));
        this.boot(async (server) => ledger.restored(book, [...devices.values()], await server.generations()));
      },
      time.world,
    );
  }

  /** Runs as the server's own code, when it is there. */
  ask(work: (server: SimulatedServer) => Promise<void>): void {
    const server = this.#server;
    if (server === undefined) return;
    const life = this.#life;
    const done = (error: unknown) => {
      // What a server that has died was doing ends with it.
      if (life.alive) throw error;
    };
    this.#world.time.after(0, () => void work(server).catch(done), life);
  }

  joined(deviceId: string): void {
    this.#members.add(deviceId);
  }

  removed(deviceId: string): void {
    this.#members.delete(deviceId);
  }

  off(): void {
    this.#life.alive = false;
    void this.#server?.closeFiles();
    this.#server = undefined;
    this.#world.network.serverDied();
  }
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, each) => sum + each, 0);
}
