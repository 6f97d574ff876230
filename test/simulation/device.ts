// A simulated device: its disk and clock, which last, and the lives of the agent on it, which end at any moment.
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Labels } from '@edgeloop/shared/selector';
import type { Trust } from '../../agent/src/identity/trust.ts';
import { type SimulatedAgent, startAgent } from '../../agent/src/models/rollout/agent-fixture.ts';
import type { ModelState } from '../../agent/src/models/rollout/model-state.ts';
import { createModelStore } from '../../agent/src/models/store.ts';
import type { PresentHold } from '../../agent/src/process/ipc.ts';
import type { Dice } from '../../control-plane/src/simulate/dice.ts';
import type { FilesAtOnce } from './files-at-once.ts';
import type { Ledger } from './ledger.ts';
import { type Network, SimulatedClient } from './network.ts';
import { createPort, type SimulatedVersion } from './releases.ts';
import { SimulatedServing } from './serving.ts';
import { besides, type Traffic } from './traffic.ts';
import type { Life, VirtualTime } from './virtual-time.ts';

export interface DeviceWorld {
  time: VirtualTime;
  files: FilesAtOnce;
  network: Network;
  versions: readonly SimulatedVersion[];
  ledger: Ledger;
  traffic: Traffic;
  folder: string;
  trust: Trust;
}

const probationMs = 5000;
const rereadMs = 60_000;
/** Within this time a step that was allowed has begun. */
const settledMs = 120_000;
/** Within this time what loads next has asked whether it may. */
const heardMs = 5000;
const away = { client: undefined, agent: undefined, serving: undefined, close: undefined };

export class SimulatedDevice {
  readonly id: string;
  labels: Labels;
  readonly folder: string;
  #hold: { present: PresentHold; setMs: number } | undefined;
  isFull = false;
  clockAheadMs = 0;
  /** Since this was looked at last, it called its file system. */
  touchedFiles = false;
  /** Models as they are known on this device, with what was last decided. */
  readonly states = new Map<string, ModelState>();
  /** What answers requests now, by model, and what runs beside it. */
  readonly answers = new Map<string, string>();
  readonly besides = new Map<string, string>();
  #clockSetMs = Number.NEGATIVE_INFINITY;
  readonly #world: DeviceWorld;
  readonly #dice: Dice;
  readonly #trust: { now: Trust };
  #life: Life;
  #lives = 0;
  #killAtCall = 0;
  #present: {
    agent: SimulatedAgent | undefined;
    serving: SimulatedServing | undefined;
    close: (() => void) | undefined;
  } = away;

  constructor(world: DeviceWorld, { id, labels, dice }: { id: string; labels: Labels; dice: Dice }) {
    this.id = id;
    this.labels = labels;
    this.#world = world;
    this.#dice = dice;
    this.#trust = { now: world.trust };
    this.folder = join(world.folder, id);
    this.#life = { name: id, alive: false, clockAheadMs: 0 };
    mkdirSync(this.folder, { recursive: true });
    world.files.before.set(id, (_call, writes) => this.#beforeFile(writes));
  }

  get isAlive(): boolean {
    return this.#life.alive;
  }

  get life(): Life {
    return this.#life;
  }

  /** The newest list of release keys that it believes. */
  get trustSerial(): number {
    return this.#trust.now.serial;
  }

  get heedsOnlySigned(): boolean {
    return this.#trust.now.ordersSigned;
  }

  /** The highest generation that it has followed. */
  get generation(): number {
    return this.#present.agent?.orders.generation ?? 0;
  }

  /** What software on it asks for now. */
  get hold(): PresentHold | undefined {
    const hold = this.#hold?.present;
    return hold !== undefined && (hold.untilMs ?? Number.POSITIVE_INFINITY) > Date.now() ? hold : undefined;
  }

  /** Undefined takes it back. */
  holdBack(hold: PresentHold | undefined): void {
    this.#hold = hold && { present: hold, setMs: this.#world.time.nowMs };
  }

  /** Whether a hold has been there for so long that every step knows of it. */
  #isHeld(): boolean {
    return this.hold !== undefined && this.#world.time.nowMs - (this.#hold?.setMs ?? 0) > heardMs;
  }

  /** Turns it on; what is on its disk serves before it reaches anybody. */
  boot(): void {
    if (this.#life.alive) return;
    this.#lives += 1;
    this.#life = { name: this.id, alive: true, clockAheadMs: this.clockAheadMs };
    this.#world.time.after(0, () => void this.#start(this.#life), this.#life);
  }

  async #start(life: Life): Promise<void> {
    const { network, versions, trust: _trust, ledger, time, traffic } = this.#world;
    const serving = new SimulatedServing({
      deviceId: this.id,
      dice: this.#dice,
      isAsked: traffic.rateOf(this.id) > 0,
      versionOf: (release) => versions.find((each) => each.release === release),
      driver: () => agent.driver,
      onAnswers: (name, release, digest) => {
        if (!life.alive) return;
        if (release === undefined) this.answers.delete(name);
        else this.answers.set(name, release);
        traffic.answers(this.id, name, release);
        ledger.answers(this, { name, release, digest });
      },
      onLoad: ({ name, release }) => {
        if (!life.alive) return;
        // Who waits for a step when its clock is set may go on by the one of before.
        if (time.nowMs - this.#clockSetMs > settledMs)
          ledger.mayLoad(this, { name, release, clockMs: Date.now(), isHeld: this.#isHeld() });
        ledger.loads(this, name, release);
      },
      onBeside: (name, release, digest) => {
        if (!life.alive) return;
        if (release === undefined) this.besides.delete(name);
        else this.besides.set(name, release);
        traffic.answers(this.id, besides(name), release);
        ledger.runsBeside(this, { name, release, digest });
      },
    });
    const agent: SimulatedAgent = await startAgent(
      {
        id: this.id,
        folder: this.folder,
        serving,
        port: createPort(this.id, { versions, network, dice: this.#dice }),
        trust: this.#trust,
        connect: (options) => {
          const { will } = options;
          return new SimulatedClient(
            network,
            this.id,
            will === undefined ? {} : { will: { topic: will.topic, payload: String(will.payload) } },
          );
        },
        prove: (model, signal) => serving.prove(model, signal),
        hold: () => this.hold,
        beforeWrite: () => {
          if (this.isFull) throw full();
        },
        onState: (name, state) => {
          if (!life.alive) return;
          ledger.state(this, name, state);
          if (state === undefined) this.states.delete(name);
          else this.states.set(name, state);
        },
        onOrder: (order, generation) => life.alive && ledger.follows(this, order, generation),
        probationMs,
        rereadMs,
      },
      (database) => {
        this.#present = { ...this.#present, close: () => database.close() };
      },
    );
    this.#present = { ...this.#present, agent, serving };
    serving.start();
    time.after(this.#dice.between(10, 500), agent.join, life);
  }

  #beforeFile(writes: boolean): void {
    this.touchedFiles = true;
    if (this.#killAtCall > 0) {
      this.#killAtCall -= 1;
      if (this.#killAtCall === 0) this.kill();
    }
    if (this.isFull && writes) throw full();
  }

  /** At its nth call to a file system from now on; it is on again after a while. */
  killAtCall(n: number): void {
    this.#killAtCall = n;
  }

  /** As `kill -9` of all its processes, or a power cut: what is written is written. Back by itself. */
  kill(backAfterMs = this.#dice.between(500, 20_000)): void {
    if (!this.#life.alive) return;
    this.#ends();
    this.#world.network.died(this.id);
    this.#world.time.after(backAfterMs, () => this.boot(), this.#world.time.world);
  }

  #ends(): void {
    this.#life.alive = false;
    this.#world.traffic.ends(this.id);
    this.#killAtCall = 0;
    this.answers.clear();
    this.besides.clear();
    const { close } = this.#present;
    this.#present = away;
    close?.();
  }

  /** An orderly stop, and a start after a while. */
  restart(): void {
    const { agent } = this.#present;
    const life = this.#life;
    if (agent === undefined || !life.alive) return;
    this.#world.time.after(
      0,
      () =>
        void agent.stop().then(() => {
          if (life.alive) this.kill();
        }),
      life,
    );
  }

  killServing(): void {
    const { serving } = this.#present;
    if (serving !== undefined && this.#life.alive) this.#world.time.after(0, () => serving.kill(), this.#life);
  }

  jumpClock(aheadMs: number): void {
    this.clockAheadMs = aheadMs;
    this.#life.clockAheadMs = aheadMs;
    this.#clockSetMs = this.#world.time.nowMs;
  }

  /** A bit turns over in one of the files that are kept. False when there is none. */
  damage(): boolean {
    if (this.states.size === 0) return false;
    const state = this.#dice.pick([...this.states.values()]);
    const good = state.lastGood ?? state.active;
    if (good === null) return false;
    const path = createModelStore(join(this.folder, 'models')).modelPath({ name: state.name, ...good });
    if (!existsSync(path)) return false;
    const bytes = readFileSync(path);
    bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 1, bytes.length - 1);
    writeFileSync(path, bytes);
    this.#world.ledger.damaged(this, good.release);
    return true;
  }

  /** A new disk: nothing is known of what was. */
  wipe(): void {
    this.#ends();
    this.#world.network.died(this.id);
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder, { recursive: true });
    this.states.clear();
    this.#trust.now = this.#world.trust;
    this.#world.ledger.wiped(this);
    this.#world.time.after(2000, () => this.boot(), this.#world.time.world);
  }

  /** Whether the file of a release is there and whole by its name. */
  isKept(name: string, good: { version: number; release: string }): boolean {
    return existsSync(createModelStore(join(this.folder, 'models')).modelPath({ name, ...good }));
  }

  /** Ends for good. */
  off(): void {
    if (this.#life.alive) this.#ends();
  }
}

function full(): Error {
  return Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
}
