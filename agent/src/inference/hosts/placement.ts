// Which worker threads hold which models. Small models share threads (each costs some 15 MB); one that is large or takes
// long to load gets its own. ONNX Runtime gives memory back only with its thread, so a shared thread that has seen many
// models go is replaced.
//
// INVARIANTS
// - A model is first loaded in a thread that serves nothing. A serving thread loads only what was quick there, so nobody
//   waits for a load; should it be held up all the same, the load is given up and the models are moved away.
// - A model's lanes are hosts that hold it. They change before the model is closed anywhere; what waits in a thread that it
//   has left is taken back.
// - Nothing that may last (a load elsewhere, a run) is waited for within a turn of `#changes`.

import { statSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { ModelToOpen, OpenedModel } from '../worker/messages.ts';
import {
  type Host,
  type HostOptions,
  type Isolation,
  isLarge,
  openOn,
  openOnAll,
  type PlacedModel,
  type Role,
  setHosts,
} from './host.ts';
import { HostPool } from './host-pool.ts';
import { isLate, type Lane } from './lane.ts';
import { createMoves, type Moves } from './moves.ts';

export interface PlacementOptions extends HostOptions {
  /** Upper bound on the threads of one model, and the number of shared threads. */
  threads: number;
  /** A thread died, or a model's own process; another one takes its place. */
  onCrash(models: readonly { id: number; name: string; version: number; isolation: Isolation }[], error: Error): void;
}

/** In how many threads a model runs. */
export interface Instances {
  /** From the beginning. */
  first: number;
  /** Where `grow` is called often enough. */
  most: number;
}

/** Hosts that serve nothing else, with the outcome of loading the model there. */
interface Trial {
  hosts: Host[];
  opened: Promise<OpenedModel>;
}

const renewAfter = { models: 24, bytes: 64 * 1024 * 1024 };
/** What took longer to load in a thread of its own is not loaded in one that serves others. */
const quickMs = 100;
/** The next model waits no longer to be tried. */
const tryMs = 500;

/** No threads before the first model. */
export class Placement {
  readonly #options: PlacementOptions;
  readonly #pool: HostPool;
  readonly #moves: Moves;
  readonly #placed = new Map<number, PlacedModel>();
  readonly #changes = createTurn();
  readonly #trials = createTurn();
  /** Models that are on their way into one more thread. */
  readonly #growing = new Set<PlacedModel>();
  /** Loads in serving threads, of one model at a time, and how to give them up. */
  readonly #joining = new Map<Host, { id: number; resolve(late: 'late'): void }>();

  constructor(options: PlacementOptions) {
    this.#options = options;
    this.#pool = new HostPool({ ...options, onDied: (host, error) => this.#died(host, error) });
    this.#moves = createMoves({
      pool: this.#pool,
      isPlaced: (entry) => this.#isPlaced(entry),
      leave: (host, entry) => this.#leave(host, entry),
      crashed: (entries, error) => this.#crashed(entries, error),
      onEnded: options.onEnded,
    });
  }

  /** Starts a thread before the first model is there, for so long; nothing else of it is begun. */
  prepare(forMs?: number): void {
    this.#pool.prepare(forMs);
  }

  /** Loads the model in its first threads. `onLanes` is told of them, and again whenever they change. */
  async place(model: ModelToOpen, instances: Instances, onLanes: PlacedModel['onLanes']): Promise<OpenedModel> {
    const entry: PlacedModel = { model, fileBytes: sizeOf(model.path), instances: instances.most, hosts: [], onLanes };
    const alone = model.isolation === 'process' || isLarge(entry) || instances.most > this.#options.threads;
    try {
      return await (alone ? this.#placeAlone(entry, instances.first) : this.#placeAmongOthers(entry, instances.first));
    } catch (error) {
      this.#placed.delete(model.id);
      await Promise.all(this.#pool.all().map((host) => host.models.has(model.id) && this.#leave(host, entry)));
      throw error;
    }
  }

  /** Into one more thread, unless it is on its way there or in all that it may have. */
  async grow(id: number): Promise<void> {
    const entry = this.#placed.get(id);
    if (!entry || this.#growing.has(entry) || entry.hosts.length >= entry.instances) return;
    this.#growing.add(entry);
    try {
      if (entry.hosts.some(({ role }) => role === 'own')) await this.#widen(entry, { hosts: 1, role: 'own' });
      else if (this.#shared().every((host) => entry.hosts.includes(host)))
        await this.#widen(entry, { hosts: 1, role: 'shared' });
      else
        await this.#changes.run(async () => this.#isPlaced(entry) && (await this.#join(entry, entry.hosts.length + 1)));
    } catch (error) {
      this.#crashed([entry], error);
    } finally {
      this.#growing.delete(entry);
    }
  }

  /** Nothing of the model may wait or run. Resolves when its memory is on its way back. */
  async displace(id: number): Promise<void> {
    const left = await this.#changes.run(() => {
      const entry = this.#placed.get(id);
      this.#placed.delete(id);
      return { by: entry?.hosts.map((host) => this.#leave(host, entry)) ?? [] };
    });
    await Promise.all(left.by);
  }

  /** Of all models. */
  lanes(): readonly Host[] {
    return this.#pool.all();
  }

  lanesOf(id: number): readonly Lane[] {
    return this.#placed.get(id)?.hosts ?? [];
  }

  /**
   * The thread's present run, of this model, takes long and keeps its thread: nobody else is to wait for it, so the other
   * models get another one. Not in turn with other changes, since one of them may be waiting for this very thread.
   */
  async isolate(late: Host, culprit: number): Promise<void> {
    const run = late.thread.runs();
    // It may have ended just now.
    if (run % 2 !== 0) late.lateRun = run;
    late.thread.takeBack();
    const joining = this.#joining.get(late);
    if (joining?.id !== culprit) joining?.resolve('late');
    const others = [...late.models.values()].filter(({ model }) => model.id !== culprit);
    if (late.role !== 'shared' || others.length === 0) return;
    late.role = 'own';
    await this.#moves.takeOver([late], others, 'shared');
    void this.#changes.run(() => this.#moves.mergeOwn());
  }

  /** Ends all threads once they are idle. */
  close(): Promise<void> {
    return this.#changes.run(async () => {
      await Promise.all(this.#pool.all().map((host) => this.#pool.retire(host)));
    });
  }

  async #placeAlone(entry: PlacedModel, instances: number): Promise<OpenedModel> {
    const { hosts, opened } = this.#open(entry, instances);
    const model = await opened;
    this.#settle(entry, hosts, instances);
    return model;
  }

  async #placeAmongOthers(entry: PlacedModel, instances: number): Promise<OpenedModel> {
    const { hosts, opened } = await this.#trials.run(() => this.#try(entry, instances));
    const model = await opened;
    if (!isQuickToLoad(model)) {
      this.#settle(entry, hosts, instances);
      return model;
    }
    // Not while it was tried: whatever kept it from loading was not its own doing.
    const left = hosts.filter(
      (host) => this.#pool.has(host) && host.role === 'apart' && host.models.has(entry.model.id),
    );
    this.#share(entry, left, instances);
    if (!(await this.#changes.run(() => this.#join(entry, instances)))) await this.#placeAlone(entry, 1);
    return model;
  }

  /** As soon as the model is loaded, or is known to take long, it is the next one's turn. */
  async #try(entry: PlacedModel, instances: number): Promise<Trial> {
    const trial = this.#open(entry, Math.max(1, instances - this.#shared().length));
    const started = Promise.all(trial.hosts.map(({ thread }) => thread.started));
    const takesLong = started.then(() => pause(tryMs, undefined, { ref: false }));
    const model = await Promise.race([trial.opened.catch(() => undefined), takesLong]);
    if (model !== undefined && isQuickToLoad(model)) this.#share(entry, trial.hosts, instances);
    return trial;
  }

  /** Of the hosts in which it was tried, as many as are missing serve it and others from now on. */
  #share(entry: PlacedModel, hosts: readonly Host[], instances: number): void {
    let missing = instances - this.#shared().length;
    for (const host of hosts) {
      if (missing-- > 0) this.#addLane(entry, host, 'shared');
      else void this.#leave(host, entry);
    }
  }

  #open(entry: PlacedModel, instances: number): Trial {
    const hosts = Array.from({ length: instances }, () => this.#pool.fresh(entry.model.isolation));
    const opened = openOnAll(hosts, entry).catch(async (error: unknown) => {
      for (const host of hosts) void this.#leave(host, entry);
      throw error;
    });
    return { hosts, opened };
  }

  /** Into further threads that serve others. False when all of them are held up. */
  async #join(entry: PlacedModel, instances: number): Promise<boolean> {
    const wanted = this.#shared().filter((host) => !entry.hosts.includes(host));
    const chosen = wanted.slice(0, instances - entry.hosts.length);
    // Side by side only where nobody is kept waiting by it.
    if (chosen.every(({ thread }) => thread.depth() === 0))
      await Promise.all(chosen.map((host) => this.#openServing(host, entry)));
    else for (const host of chosen) await this.#openServing(host, entry);
    return entry.hosts.length > 0;
  }

  /** The hosts are its own from now on; more of them come when it can be asked already. */
  #settle(entry: PlacedModel, hosts: readonly Host[], instances: number): void {
    for (const host of hosts) this.#addLane(entry, host, 'own');
    const missing = instances - hosts.length;
    if (missing > 0) void this.#widen(entry, { hosts: missing, role: 'own' });
    void this.#changes.run(() => this.#moves.mergeOwn());
  }

  async #widen(entry: PlacedModel, more: { hosts: number; role: Role }): Promise<void> {
    const { hosts, opened } = this.#open(entry, more.hosts);
    try {
      await opened;
    } catch (error) {
      return this.#crashed([entry], error);
    }
    for (const host of hosts) {
      if (this.#isPlaced(entry)) this.#addLane(entry, host, more.role);
      else void this.#leave(host, entry);
    }
    this.#options.onEnded();
  }

  #isPlaced(entry: PlacedModel): boolean {
    return this.#placed.get(entry.model.id) === entry;
  }

  #addLane(entry: PlacedModel, host: Host, role: Role): void {
    host.role = role;
    this.#placed.set(entry.model.id, entry);
    setHosts(entry, [...entry.hosts, host]);
  }

  /** Those with the fewest models first. */
  #shared(): Host[] {
    return this.#pool
      .all()
      .filter((host) => host.role === 'shared' && !isLate(host))
      .sort((a, b) => a.models.size - b.models.size);
  }

  /** Given up when the thread is held up by a run: then it lets go of the model when it comes to it. */
  async #openServing(host: Host, entry: PlacedModel): Promise<void> {
    const opened = openOn(host, entry);
    const givenUp = new Promise<'late'>((resolve) => this.#joining.set(host, { id: entry.model.id, resolve }));
    try {
      if ((await Promise.race([opened, givenUp])) !== 'late') return this.#addLane(entry, host, host.role);
      void opened.then(
        () => this.#leave(host, entry),
        () => undefined, // It is not there, then.
      );
    } finally {
      this.#joining.delete(host);
      this.#options.onEnded();
    }
  }

  /** Takes the model from the thread; keeps or ends the thread when it was the last, or soon replaces it when it has grown. */
  async #leave(host: Host, entry: PlacedModel): Promise<void> {
    if (!this.#pool.has(host)) return;
    const closed = host.models.delete(entry.model.id) ? host.thread.close(entry.model.id) : undefined;
    host.gone.models++;
    host.gone.bytes += entry.fileBytes;
    const grown = host.gone.bytes >= renewAfter.bytes;
    if (host.models.size === 0) {
      const tried = host.role === 'apart' && !grown;
      host.role = 'apart';
      if (!(tried && this.#pool.keep(host))) await this.#ended(host);
    } else if (grown || host.gone.models >= renewAfter.models) {
      void this.#changes.run(() => this.#moves.renew(host));
    }
    // A thread that is held up obeys when it can.
    if (!isLate(host)) await closed;
  }

  async #ended(host: Host): Promise<void> {
    const ended = this.#pool.retire(host);
    if (!isLate(host)) await ended;
  }

  #died(host: Host, error: Error): void {
    const lost = [...host.models.values()];
    this.#crashed(lost, error);
    if (lost.some(({ hosts }) => hosts.includes(host))) void this.#moves.takeOver([host], lost, host.role);
  }

  #crashed(entries: readonly PlacedModel[], error: unknown): void {
    this.#options.onCrash(
      entries.map(({ model }) => model),
      error instanceof Error ? error : new Error(String(error)),
    );
  }
}

/** So that it may be loaded in a thread that serves others. */
export function isQuickToLoad({ loadMs }: OpenedModel): boolean {
  return loadMs <= quickMs;
}

/** ONNX Runtime says what is wrong with a file that can't be read. */
function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
