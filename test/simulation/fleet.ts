// A fleet that lives through a history of faults and words, and then in peace: everything that is random comes from one seed.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Authority } from '../../control-plane/src/access/authority.ts';
import { openSimulatedAuthority } from '../../control-plane/src/rollouts/server-fixture.ts';
import { Dice } from '../../control-plane/src/simulate/dice.ts';
import { SimulatedControlPlane } from './control-plane.ts';
import { SimulatedDevice } from './device.ts';
import { checkEnd, remaining } from './ends.ts';
import { FilesAtOnce } from './files-at-once.ts';
import { Ledger, Violation } from './ledger.ts';
import { Network } from './network.ts';
import { Operator, sites } from './operator.ts';
import { makeVersions, type SimulatedVersion } from './releases.ts';
import { type Fate, hitServer, strike } from './strikes.ts';
import { Traffic } from './traffic.ts';
import { type Life, VirtualTime } from './virtual-time.ts';

export interface Settings {
  seed: number;
  devices: number;
  /** How long faults happen and operators speak, in virtual minutes. */
  minutes: number;
  /** Keeps a line of everything that happens. */
  verbose?: boolean;
}

export interface Outcome {
  violation: string | undefined;
  /** Virtual seconds from the start to the end. */
  seconds: number;
  events: number;
  /** How often each kind of thing happened. */
  seen: ReadonlyMap<string, number>;
  lines: readonly string[];
}

const models = ['net', 'aux'];
const startMs = Date.UTC(2026, 0, 5, 12);
/** Within this time of peace all must have come to its end. */
const patienceMs = 2 * 3_600_000;

/** In memory, where there is such a folder: nothing has to outlive this process. */
const root = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

export async function simulate(settings: Settings): Promise<Outcome> {
  const folder = mkdtempSync(join(root, 'edgeloop-simulation-'));
  const fleet = new SimulatedFleet(settings, folder, await openSimulatedAuthority(folder));
  try {
    return await fleet.live();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

class SimulatedFleet {
  readonly #settings: Settings;
  readonly #dice: Dice;
  readonly #time = new VirtualTime(startMs);
  readonly #files = new FilesAtOnce(this.#time);
  readonly #network: Network;
  readonly #ledger: Ledger;
  readonly #versions: readonly SimulatedVersion[];
  readonly #devices = new Map<string, SimulatedDevice>();
  readonly #plane: SimulatedControlPlane;
  readonly #operator: Operator;
  readonly #fate: Fate;
  readonly #ring: Authority['ring'];
  #atPeace = false;
  #isOver = false;
  #quietSince = 0;

  constructor(settings: Settings, folder: string, authority: Authority) {
    const dice = new Dice(settings.seed);
    this.#settings = settings;
    this.#dice = dice;
    this.#ring = authority.ring;
    this.#versions = makeVersions(models, { count: 6, sign: authority.ring.signRelease, dice: dice.fork() });
    const shared = {
      time: this.#time,
      network: new Network(this.#time, dice.fork()),
      ledger: new Ledger(this.#time, this.#versions, settings.verbose ?? false),
      traffic: new Traffic(dice.fork(), () => this.#time.nowMs),
      ...{ versions: this.#versions, folder, devices: this.#devices },
    };
    this.#fate = { ...shared, dice };
    this.#network = shared.network;
    this.#ledger = shared.ledger;
    const trust = { ...authority.ring.trusted(), ordersSigned: false };
    for (let i = 0; i < settings.devices; i++) {
      const id = `d${i}`;
      const own = { id, labels: { site: sites[i % sites.length] ?? '' }, dice: dice.fork() };
      this.#devices.set(id, new SimulatedDevice({ ...shared, trust, files: this.#files }, own));
    }
    this.#plane = new SimulatedControlPlane({ ...shared, authority });
    this.#operator = new Operator({ ...shared, dice: dice.fork(), plane: this.#plane });
  }

  async live(): Promise<Outcome> {
    const back = [this.#time.install(this.#dice.fork().next), this.#files.install()];
    let violation: string | undefined;
    const broken = (error: unknown) => {
      violation ??= error instanceof Violation ? error.message : String(error instanceof Error ? error.stack : error);
    };
    process.on('unhandledRejection', broken);
    try {
      await this.#history(() => violation !== undefined || this.#ledger.violation !== undefined);
    } catch (error) {
      broken(error);
    } finally {
      for (const each of back) each();
      process.off('unhandledRejection', broken);
      for (const device of this.#devices.values()) device.off();
      this.#plane.off();
    }
    const { seen, lines } = this.#ledger;
    const { events, nowMs } = this.#time;
    return { violation: this.#ledger.violation ?? violation, seconds: (nowMs - startMs) / 1000, events, seen, lines };
  }

  async #history(isBroken: () => boolean): Promise<void> {
    const time = this.#time;
    this.#plane.boot(async (server) => {
      await server.register(this.#versions);
      await server.add([...this.#devices.values()]);
    });
    for (const device of this.#devices.values())
      time.after(this.#dice.between(0, 5000), () => device.boot(), time.world);
    time.after(10_000, () => this.#begin(), time.world);
    const until = startMs + this.#settings.minutes * 60_000;
    const seen = (life: Life) => this.#check(life);
    await time.run(until, seen, isBroken);
    if (isBroken()) return;
    this.#peace();
    await time.run(until + patienceMs, seen, () => isBroken() || this.#isOver);
    if (!isBroken() && !this.#isOver)
      throw new Violation(
        `after ${patienceMs / 60_000} quiet minutes: ${(await this.#remaining()).slice(0, 5).join('; ')}`,
      );
  }

  #check(life: Life): void {
    const device = this.#devices.get(life.name);
    if (device?.touchedFiles !== true) return;
    device.touchedFiles = false;
    this.#ledger.checkKept(device);
  }

  /** The first version everywhere, then whatever comes. */
  #begin(): void {
    for (const model of models) {
      const first = this.#versions.find((each) => each.model === model);
      this.#plane.ask((server) => this.#operator.create(server, first));
    }
    this.#again(() => this.#operator.act(), 12_000);
    this.#again(
      () => strike(this.#dice.pick([...this.#devices.values()]), this.#fate),
      150_000 / Math.sqrt(this.#settings.devices),
    );
    this.#again(() => hitServer(this.#plane, this.#fate), 100_000);
  }

  /** Until there is peace, after times whose mean is `meanMs`. */
  #again(work: () => void, meanMs: number): void {
    const next = () =>
      this.#time.after(
        -Math.log(1 - this.#dice.next()) * meanMs,
        () => {
          if (this.#atPeace) return;
          work();
          next();
        },
        this.#time.world,
      );
    next();
  }

  /** Everybody is there, nothing breaks any more, and somebody sees to what waits for a word. */
  #peace(): void {
    this.#atPeace = true;
    this.#network.mend();
    this.#plane.killAtPublish(0);
    for (const device of this.#devices.values()) {
      device.isFull = false;
      device.holdBack(undefined);
      device.killAtCall(0);
      device.jumpClock(0);
    }
    const look = () =>
      this.#time.after(
        20_000,
        () => {
          if (!this.#plane.isAlive) this.#plane.boot();
          for (const device of this.#devices.values()) device.boot();
          this.#operator.tidyUp();
          this.#plane.ask(async () => this.#seeWhetherOver());
          look();
        },
        this.#time.world,
      );
    this.#quietSince = 0;
    look();
  }

  /** Over when nothing was left to be done for two minutes. */
  async #seeWhetherOver(): Promise<void> {
    if ((await this.#remaining()).length > 0) {
      this.#quietSince = 0;
      return;
    }
    if (this.#quietSince === 0) this.#quietSince = this.#time.nowMs;
    if (this.#time.nowMs - this.#quietSince < 120_000) return;
    const { server } = this.#plane;
    if (server !== undefined)
      await checkEnd(server, {
        ...{ devices: this.#devices, versions: this.#versions, estranged: this.#ledger.estranged },
        keySerial: this.#ring.trusted().serial,
      });
    this.#isOver = true;
  }

  /** What is left to be done. */
  async #remaining(): Promise<string[]> {
    const { server } = this.#plane;
    return server === undefined ? ['the server is away'] : remaining(server, { devices: this.#devices, models });
  }
}
