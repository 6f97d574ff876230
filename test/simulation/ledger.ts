// What must hold, checked as it happens, in the words of the one who would complain. What an operator said and what was true before is
// kept here, beside the programs; a backup of the server takes along what belongs to it.
import { kindOf, type Rollout, type RolloutWave } from '@edgeloop/shared/api/rollouts';
import { opensAt } from '@edgeloop/shared/maintenance-window';
import { type Desired, usualMaxHoldSeconds } from '@edgeloop/shared/messages';
import type { ModelState } from '../../agent/src/models/rollout/model-state.ts';
import type { SimulatedVersion } from './releases.ts';
import type { VirtualTime } from './virtual-time.ts';

export class Violation extends Error {}

export interface WatchedDevice {
  readonly id: string;
  readonly states: ReadonlyMap<string, ModelState>;
  /** Whether the file of a release lies there, whole by its name. */
  isKept(name: string, good: { version: number; release: string }): boolean;
}

/** What a wave that passed was made of. */
export interface PassedWave {
  members: readonly { deviceId: string; wave: number }[];
  before: readonly RolloutWave[];
  /** Requests that its devices answered with it since they were told, up to now and some seconds ago; unset when they went on. */
  requests: { now: number; before: number } | undefined;
  /** Answers that were compared at most while a trial was under way. */
  compared: number;
}

/** What is so because of what the present server knows. */
interface ServerBook {
  /** Cancelled rollouts, with the devices that ran the version then. */
  cancelled: Map<string, ReadonlySet<string>>;
  /** How often an operator asked for another try. */
  retries: Map<string, number>;
}

/** What is so of one device. */
interface DeviceBook {
  generation: number;
  /** `model release word` that failed here. */
  refused: Set<string>;
  damaged: Set<string>;
  /** It knows a newer state of the server than the server: what it should run stays as it is until somebody decides. */
  ahead: string | undefined;
  /** What it follows. */
  order: string;
  /** Since when a release is on trial here, by `model release`. */
  onTrialSince: Map<string, number>;
  /** An operator let it keep what it runs; rollouts that are newer may take it. */
  keptBefore: string | undefined;
}

/** How long a version is on trial on simulated devices, less what an event is late by. */
const leastTrialMs = 4900;
/** So many requests show that half of them fail. */
const telling = 20;

export class Ledger {
  readonly #time: VirtualTime;
  readonly #versions: readonly SimulatedVersion[];
  #server: ServerBook = { cancelled: new Map(), retries: new Map() };
  readonly #devices = new Map<string, DeviceBook>();
  /** Devices that were removed, or left to what they ran: what had completed there before is no more theirs. */
  readonly estranged = new Set<string>();
  /** When a device first answered with a release, or ran it beside another, by `device release`. */
  readonly #answered = new Map<string, number>();
  readonly #triedBeside = new Map<string, number>();
  /** All that each device was ever told. */
  readonly #told = new Map<string, Set<string>>();
  readonly #passed = new Set<string>();
  /** The first. */
  violation: string | undefined;
  readonly seen = new Map<string, number>();
  readonly lines: string[] = [];
  readonly verbose: boolean;

  constructor(time: VirtualTime, versions: readonly SimulatedVersion[], verbose: boolean) {
    this.#time = time;
    this.#versions = versions;
    this.verbose = verbose;
  }

  /** Counts that something happened, so that a run says what it was made of. */
  note(what: string, words = ''): void {
    this.seen.set(what, (this.seen.get(what) ?? 0) + 1);
    if (this.verbose) this.lines.push(`${(this.#time.nowMs / 1000).toFixed(3)} ${what} ${words}`);
  }

  #require(holds: boolean, words: () => string): void {
    if (!holds) this.#violated(words());
  }

  /** Kept as well: the programs that are watched may catch what is thrown in them. */
  #violated(words: string): never {
    this.violation ??= words;
    throw new Violation(words);
  }

  #of({ id }: WatchedDevice): DeviceBook {
    const known = this.#devices.get(id);
    if (known !== undefined) return known;
    const made: DeviceBook = {
      ...{ generation: 0, refused: new Set(), damaged: new Set(), ahead: undefined, order: '' },
      ...{ onTrialSince: new Map(), keptBefore: undefined },
    };
    this.#devices.set(id, made);
    return made;
  }

  // --- devices

  /** No device ever runs an unverified version. */
  answers(
    device: WatchedDevice,
    { name, release, digest }: { name: string; release: string | undefined; digest: string | undefined },
  ): void {
    if (release === undefined) return;
    const version = this.#versions.find((each) => each.release === release);
    this.#require(
      version !== undefined && version.model === name && version.digest === digest,
      () => `${device.id} answers ${name} with bytes that no release has: ${digest} for ${release}`,
    );
    this.#first(this.#answered, device.id, release);
    this.note('answers', `${device.id} ${name} ${version?.version}`);
  }

  #first(times: Map<string, number>, deviceId: string, release: string): void {
    const key = `${deviceId} ${release}`;
    if (!times.has(key)) times.set(key, this.#time.nowMs);
  }

  /** Nor beside one that answers. */
  runsBeside(
    device: WatchedDevice,
    { name, release, digest }: { name: string; release: string | undefined; digest: string | undefined },
  ): void {
    if (release === undefined) return;
    const version = this.#versions.find((each) => each.release === release);
    this.#require(
      version !== undefined && version.model === name && version.digest === digest,
      () => `${device.id} runs ${name} beside another with bytes that no release has: ${digest} for ${release}`,
    );
    this.#first(this.#triedBeside, device.id, release);
    this.note('runs beside', `${device.id} ${name} ${version?.version}`);
  }

  /** What is new on a device begins to answer within the windows of its rollout, by the device's own clock, and when nobody holds it. */
  mayLoad(
    device: WatchedDevice,
    {
      name,
      release,
      clockMs,
      isHeld,
    }: { name: string; release?: string | undefined; clockMs: number; isHeld: boolean },
  ): void {
    const { candidate, desired, lastGood } = device.states.get(name) ?? {};
    if (candidate?.state !== 'warming' || candidate.target.release !== release || release === lastGood?.release) return;
    const order = desired?.release === release ? desired : candidate.target;
    const mostMs = (order?.maxHoldSeconds ?? usualMaxHoldSeconds) * 1000;
    this.#require(
      !isHeld || clockMs >= (candidate.holdSince ?? clockMs) + mostMs,
      () => `${device.id} loads ${name} ${candidate.target.version} though software on it said not now`,
    );
    const windows = order?.windows?.activate ?? [];
    if (windows.length === 0) return;
    this.note('in its window');
    this.#require(
      opensAt(windows, clockMs) === undefined || opensAt(windows, clockMs - 60_000) === undefined,
      () => `${device.id} loads ${name} ${candidate.target.version} outside its window`,
    );
  }

  loads(device: WatchedDevice, name: string, release: string | undefined): void {
    this.note('loads', `${device.id} ${name} ${this.#versions.find((each) => each.release === release)?.version}`);
  }

  /** A version that failed is not tried again on the same word, and what was good before stays. */
  state(device: WatchedDevice, name: string, state: ModelState | undefined): void {
    const book = this.#of(device);
    if (state === undefined) return;
    const { candidate, lastGood, active } = state;
    const before = device.states.get(name);
    this.#tell(device.id, before, state);
    this.#trial(device, before, state);
    if (candidate === null) {
      // What passed its probation was wronged before.
      if (lastGood !== null && before?.lastGood?.release !== lastGood.release)
        for (const key of book.refused) if (key.startsWith(`${name} ${lastGood.release}`)) book.refused.delete(key);
    } else {
      const key = `${name} ${candidate.target.release} ${candidate.target.rolloutId}`;
      if (candidate.state === 'failed') {
        if (!book.refused.has(key)) this.note(`fails: ${candidate.error.kind ?? 'unknown'}`, device.id);
        book.refused.add(key);
      } else
        this.#require(
          !book.refused.has(key) || candidate.target.release === before?.lastGood?.release,
          () =>
            `${device.id} tries ${name} ${candidate.target.version} again on the word on which it failed: ${candidate.state}`,
        );
    }
    if (active !== null && candidate?.state === 'probation' && lastGood !== null) this.kept(device, name, lastGood);
  }

  /** What is good here was on trial first. */
  #trial(device: WatchedDevice, before: ModelState | undefined, { name, candidate, lastGood }: ModelState): void {
    const { onTrialSince } = this.#of(device);
    const isNew = candidate?.state === 'probation' && before?.candidate?.state !== 'probation';
    if (isNew) onTrialSince.set(`${name} ${candidate.target.release}`, this.#time.nowMs);
    if (lastGood === null || before === undefined || before.lastGood?.release === lastGood.release) return;
    const since = onTrialSince.get(`${name} ${lastGood.release}`) ?? Number.POSITIVE_INFINITY;
    this.#require(
      this.#time.nowMs - since >= leastTrialMs,
      () => `${device.id} takes ${name} ${lastGood.version} for good after ${this.#time.nowMs - since} ms of probation`,
    );
  }

  #tell(id: string, before: ModelState | undefined, state: ModelState): void {
    const words = wordsOf(state);
    if (before === undefined || wordsOf(before) !== words) this.note('state', `${id} ${words}`);
  }

  /** The last good version stays loadable. */
  kept(device: WatchedDevice, name: string, good: { version: number; release: string }): void {
    this.#require(
      this.#of(device).damaged.has(good.release) || device.isKept(name, good),
      () => `${device.id} has lost the file of ${name} ${good.version}, the last good one`,
    );
  }

  checkKept(device: WatchedDevice): void {
    for (const { name, lastGood, desired } of device.states.values())
      if (lastGood !== null && desired !== null) this.kept(device, name, lastGood);
  }

  damaged(device: WatchedDevice, release: string): void {
    this.#of(device).damaged.add(release);
    this.note('damage', device.id);
  }

  wiped(device: WatchedDevice): void {
    this.#devices.delete(device.id);
    this.note('wipe', device.id);
  }

  /** Generations only grow; who is ahead of a restored server is not moved. */
  follows(device: WatchedDevice, order: Pick<Desired, 'generation' | 'models'>, generation: number): void {
    const book = this.#of(device);
    this.#require(
      generation >= book.generation,
      () => `${device.id} went back from generation ${book.generation} to ${generation}`,
    );
    book.generation = generation;
    const own = orderWords(order);
    this.#require(
      this.#told.get(device.id)?.has(own) === true,
      () => `${device.id} follows what it was never told: ${own}`,
    );
    const told = JSON.stringify(order.models.map(({ name, release }) => [name, release]));
    this.#require(
      book.ahead === undefined || book.ahead === told,
      () => `${device.id} was moved by a restored server from ${book.ahead} to ${told} though nobody decided`,
    );
    book.order = told;
  }

  // --- the server

  /** A cancelled rollout gives nobody its version; nobody is asked to try again unless somebody asked for that. */
  tells(deviceId: string, order: Pick<Desired, 'generation' | 'models'>): void {
    const told = this.#told.get(deviceId) ?? new Set();
    this.#told.set(deviceId, told.add(orderWords(order)));
    const besides = order.models.flatMap(({ name, beside }) => (beside === undefined ? [] : [{ name, ...beside }]));
    for (const { rolloutId: word, name } of besides)
      this.#require(
        !this.#server.cancelled.has(word.split('.')[0] ?? ''),
        () =>
          `${deviceId} is to run a version of ${name} beside its own by the rollout ${word}, which was cancelled before`,
      );
    for (const { rolloutId: word, name, version } of order.models) {
      const [id = '', attempt = '1'] = word.split('.');
      const device = this.#devices.get(deviceId);
      this.#require(
        id.endsWith('-kept') || id > (device?.keptBefore ?? ''),
        () =>
          `${deviceId} is given ${name} ${version} by ${id}, and was to keep what it ran until a newer rollout takes it`,
      );
      if (device !== undefined && !id.endsWith('-kept')) device.keptBefore = undefined;
      const keepers = this.#server.cancelled.get(id);
      this.#require(
        keepers === undefined || keepers.has(deviceId),
        () => `${deviceId} is given ${name} ${version} by the rollout ${id}, which was cancelled before`,
      );
      this.#require(
        Number(attempt) - 1 <= (this.#server.retries.get(id) ?? 0),
        () => `${deviceId} is told to try ${name} ${version} for the ${attempt}. time, and nobody asked for that`,
      );
    }
  }

  retried(id: string): void {
    this.#server.retries.set(id, (this.#server.retries.get(id) ?? 0) + 1);
  }

  /** `keepers`: devices that ran the version at that moment. */
  cancelled(id: string, keepers: ReadonlySet<string>): void {
    this.#server.cancelled.set(id, keepers);
  }

  isCancelled(id: string): boolean {
    return this.#server.cancelled.has(id);
  }

  /** An operator took back what was left to its devices. */
  takenBack(id: string): void {
    this.#server.cancelled.delete(id);
  }

  /** A version that fails everywhere never passes its first wave. */
  passes(rollout: Pick<Rollout, 'id' | 'model' | 'version'>, wave: number): void {
    this.#violated(
      `${rollout.model} ${rollout.version} fails on every device and passed wave ${wave + 1} of ${rollout.id}`,
    );
  }

  /** A wave passes when as many as its plan asks for really served, for as long as it asks, and no more failed than it allows. */
  wavePassed(
    { id, model, version, plan }: Pick<Rollout, 'id' | 'model' | 'version' | 'plan'>,
    { wave, counts, endedAt, startedAt }: RolloutWave,
    { members, before, requests, compared }: PassedWave,
  ): void {
    const key = `${id} ${wave} ${startedAt}`;
    if (this.#passed.has(key) || endedAt === null) return;
    this.#passed.add(key);
    const release = this.#versions.find((each) => each.model === model && each.version === version)?.release ?? '';
    const { healthy = 0, failed = 0, timed_out = 0 } = counts;
    const what = `wave ${wave + 1} of ${id} passed with ${JSON.stringify(counts)}`;
    this.#require(
      failed + timed_out <= plan.gates.maxFailedDevices * (healthy + failed + timed_out) + 1e-9,
      () => `${what}, and ${plan.gates.maxFailedDevices} may fail`,
    );
    const anybody = [...before, { wave, counts }].some((each) => (each.counts.healthy ?? 0) > 0);
    this.#require(Object.keys(counts).length === 0 || anybody, () => `${what}, and nobody served`);
    const kind = kindOf(plan.waves[wave]);
    const isTrial = kind !== 'serve';
    this.note(isTrial ? 'a trial passed' : 'a wave passed', what);
    if (healthy > 0 && kind === 'shadow' && plan.gates.shadow.mode === 'gate')
      this.#require(
        compared >= plan.gates.shadow.minCompared,
        () => `${what} after ${compared} comparisons, and needs ${plan.gates.shadow.minCompared}`,
      );
    if (healthy > 0 && kind !== 'shadow' && requests !== undefined)
      this.#require(
        requests.now >= plan.gates.minRequests,
        () => `${what} after ${requests.now} requests, and needs ${plan.gates.minRequests}`,
      );
    const isFailing = this.#versions.some((each) => each.release === release && each.behaviour === 'failing');
    this.#require(
      !isFailing || kind === 'shadow' || (requests?.before ?? 0) < telling,
      () => `${what}, and half of ${requests?.before} requests had failed`,
    );
    const times = isTrial ? this.#triedBeside : this.#answered;
    const those = isTrial
      ? [...new Set([...times.keys()].map((each) => each.split(' ')[0] ?? ''))]
      : members.filter((each) => each.wave === wave).map(({ deviceId }) => deviceId);
    const latest = endedAt - plan.bakeSeconds * 1000;
    const really = those.filter((each) => (times.get(`${each} ${release}`) ?? Number.POSITIVE_INFINITY) <= latest);
    this.#require(
      really.length >= healthy,
      () => `${what}, of which ${really.length} had it for ${plan.bakeSeconds} s`,
    );
  }

  backup(): ServerBook {
    const { cancelled, retries } = this.#server;
    return { cancelled: new Map(cancelled), retries: new Map(retries) };
  }

  /** `told`: what the restored server knows to have told at most. */
  restored(book: ServerBook, devices: readonly WatchedDevice[], told: ReadonlyMap<string, number>): void {
    this.#server = { cancelled: new Map(book.cancelled), retries: new Map(book.retries) };
    // Nor does it know what operators said since.
    for (const device of this.#devices.values()) device.keptBefore = undefined;
    for (const device of devices) {
      const known = this.#of(device);
      if (known.generation > (told.get(device.id) ?? Number.POSITIVE_INFINITY)) {
        known.ahead = known.order;
        this.note('ahead', device.id);
      }
    }
  }

  /** Somebody decided, or it is another device now. Who is to follow is asked to try what failed there, if that is what it is told. */
  decided(deviceId: string, decision: 'follow' | 'keep'): void {
    const book = this.#devices.get(deviceId);
    if (book === undefined) return;
    book.ahead = undefined;
    book.keptBefore = undefined;
    if (decision === 'follow') book.refused.clear();
  }

  /** It stays with what it runs until a rollout takes it that is newer than `newest`. */
  keeps(deviceId: string, newest: string): void {
    const book = this.#devices.get(deviceId);
    if (book !== undefined) book.keptBefore = newest;
  }
}

function orderWords({ generation, models }: Pick<Desired, 'generation' | 'models'>): string {
  return JSON.stringify([
    generation,
    ...models.map(({ name, release, rolloutId, beside }) => [name, release, rolloutId, beside?.release]),
  ]);
}

function wordsOf({ name, active, lastGood, candidate }: ModelState): string {
  const serves = `${name}: ${active?.version ?? 'nothing'} answers, ${lastGood?.version ?? 'nothing'} is good`;
  if (candidate === null) return serves;
  const { state, target, error } = candidate;
  return `${serves}, ${target.version} by ${target.rolloutId} is ${state}${error === undefined ? '' : `: ${error.message}`}`;
}
