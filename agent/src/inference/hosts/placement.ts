// Which worker threads hold which models. Small models share threads (each costs some 35 MB); one that is large or takes
// long to load gets its own. ONNX Runtime gives memory back only with its thread, so a shared thread that has seen many
// models go is replaced.
//
// INVARIANTS
// - A model is first loaded in a thread that serves nothing. A serving thread loads only what was quick there, so nobody
//   waits for a load; should it be held up all the same, the load is given up and the models are moved away.
// - A model's lanes are hosts that hold it. They change before the model is closed anywhere; what waits in a thread that it
//   has left is taken back.
// - Nothing that may last (a load elsewhere, a run) is waited for within a turn of `#changes`.

import { existsSync, statSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { AppError } from '@edgeloop/shared/app-error';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { ModelToOpen, OpenedModel } from '../worker/messages.ts';
import {
  freeNoteSlot,
  type Host,
  type HostOptions,
  type Isolation,
  openOn,
  openOnAll,
  type PlacedModel,
  type Role,
  startHost,
} from './host.ts';
import { isLate, type Lane } from './lane.ts';

export interface PlacementOptions extends HostOptions {
  /** Upper bound on the threads of one model, and the number of shared threads. */
  threads: number;
  /** A thread died, or a model's own process; another one takes its place. */
  onCrash(models: readonly { name: string; version: number; isolation: Isolation }[], error: Error): void;
}

/** Hosts that serve nothing else, with the outcome of loading the model there. */
interface Trial {
  hosts: Host[];
  opened: Promise<OpenedModel>;
}

/** A file of this size gets threads of its own. */
const largeBytes = 20 * 1024 * 1024;
const renewAfter = { models: 24, bytes: 64 * 1024 * 1024 };
/** What took longer to load in a thread of its own is not loaded in one that serves others. */
const quickMs = 100;
/** The next model waits no longer to be tried. */
const tryMs = 500;
/** A thread in which models were tried is kept so long for the next one. */
const spareMs = 1000;
/** Of small models; beyond, two share one. */
const ownAtMost = 8;

/** No threads before the first model. */
export class Placement {
  readonly #options: PlacementOptions;
  readonly #hosts = new Set<Host>();
  readonly #placed = new Map<number, PlacedModel>();
  readonly #changes = createTurn();
  readonly #trials = createTurn();
  /** Empty, for the next models; they end when they are not needed before long. */
  readonly #spares = new Map<Host, NodeJS.Timeout | undefined>();
  /** Loads in serving threads, of one model at a time, and how to give them up. */
  readonly #joining = new Map<Host, { id: number; resolve(late: 'late'): void }>();

  constructor(options: PlacementOptions) {
    this.#options = options;
  }

  /** Starts so many threads before the first model is there; nothing else of it is begun. */
  prepare(threads: number): void {
    for (let i = 0; i < threads; i++) this.#spares.set(this.#start('shared'), undefined);
  }

  /** Loads the model in so many threads. `onLanes` is told of them, and again whenever they change. */
  async place(
    model: ModelToOpen,
    instances: number,
    onLanes: (lanes: readonly Lane[]) => void,
  ): Promise<{ opened: OpenedModel; instances: number }> {
    const entry: PlacedModel = { model, fileBytes: sizeOf(model.path), hosts: [], onLanes };
    const alone = model.isolation === 'process' || isLarge(entry) || instances > this.#options.threads;
    try {
      const opened = alone ? await this.#placeAlone(entry, instances) : await this.#placeAmongOthers(entry, instances);
      return { opened, instances };
    } catch (error) {
      this.#placed.delete(model.id);
      await Promise.all([...this.#hosts].map((host) => host.models.has(model.id) && this.#leave(host, entry)));
      throw error;
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
    return [...this.#hosts];
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
    await this.#takeOver([late], others, 'shared');
    void this.#changes.run(() => this.#mergeOwn());
  }

  /** Ends all threads once they are idle. */
  close(): Promise<void> {
    return this.#changes.run(async () => {
      await Promise.all([...this.#hosts].map((host) => this.#retire(host)));
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
    if (!isQuickToLoad(model)) this.#settle(entry, hosts, instances);
    else if (!(await this.#changes.run(() => this.#join(entry, instances)))) await this.#placeAlone(entry, 1);
    return model;
  }

  /** As soon as the model is loaded, or is known to take long, it is the next one's turn. */
  async #try(entry: PlacedModel, instances: number): Promise<Trial> {
    const missing = instances - this.#shared().length;
    const trial = this.#open(entry, Math.max(1, missing));
    const started = Promise.all(trial.hosts.map(({ thread }) => thread.started));
    const takesLong = started.then(() => pause(tryMs, undefined, { ref: false }));
    const model = await Promise.race([trial.opened.catch(() => undefined), takesLong]);
    if (model === undefined || !isQuickToLoad(model)) return trial;
    for (const host of trial.hosts) {
      if (missing > 0) this.#addLane(entry, host, 'shared');
      else void this.#leave(host, entry);
    }
    return trial;
  }

  #open(entry: PlacedModel, instances: number): Trial {
    const hosts = Array.from({ length: instances }, () => this.#fresh(entry.model.isolation));
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
    if (hosts.length < instances) void this.#widen(entry, instances - hosts.length);
    void this.#changes.run(() => this.#mergeOwn());
  }

  async #widen(entry: PlacedModel, instances: number): Promise<void> {
    const { hosts, opened } = this.#open(entry, instances);
    try {
      await opened;
    } catch (error) {
      return this.#crashed([entry], error);
    }
    for (const host of hosts) {
      if (this.#placed.get(entry.model.id) === entry) this.#addLane(entry, host, 'own');
      else void this.#leave(host, entry);
    }
  }

  #addLane(entry: PlacedModel, host: Host, role: Role): void {
    host.role = role;
    this.#placed.set(entry.model.id, entry);
    this.#setHosts(entry, [...entry.hosts, host]);
  }

  #setHosts(entry: PlacedModel, hosts: Host[]): void {
    entry.hosts = hosts;
    entry.onLanes(hosts);
  }

  /** Those with the fewest models first. */
  #shared(): Host[] {
    return [...this.#hosts]
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
    if (!this.#hosts.has(host)) return;
    const closed = host.models.delete(entry.model.id) ? host.thread.close(entry.model.id) : undefined;
    host.gone.models++;
    host.gone.bytes += entry.fileBytes;
    const grown = host.gone.bytes >= renewAfter.bytes;
    if (host.models.size === 0) {
      const tried = host.role === 'apart' && host.isolation === 'shared' && !grown;
      host.role = 'apart';
      if (tried && this.#spares.size === 0) this.#keepSpare(host);
      else await this.#ended(host);
    } else if (grown || host.gone.models >= renewAfter.models) {
      void this.#changes.run(() => this.#renew(host));
    }
    // A thread that is held up obeys when it can.
    if (!isLate(host)) await closed;
  }

  #keepSpare(host: Host): void {
    clearTimeout(this.#spares.get(host));
    this.#spares.set(host, setTimeout(() => void this.#retire(host), spareMs).unref());
  }

  #takeSpare(): Host | undefined {
    const [taken] = this.#spares.keys();
    if (taken) this.#dropSpare(taken);
    for (const left of this.#spares.keys()) this.#keepSpare(left);
    return taken;
  }

  #dropSpare(host: Host): void {
    clearTimeout(this.#spares.get(host));
    this.#spares.delete(host);
  }

  async #ended(host: Host): Promise<void> {
    const ended = this.#retire(host);
    if (!isLate(host)) await ended;
  }

  /** A fresh thread takes over all models; the old one finishes what it has. */
  async #renew(old: Host): Promise<void> {
    if (!this.#hosts.has(old) || isLate(old) || old.models.size === 0) return;
    old.gone = { models: 0, bytes: 0 };
    await this.#takeOver([old], [...old.models.values()], old.role);
  }

  /** Each thread costs memory, so that many models that load or run long share some, to nobody else's delay. */
  async #mergeOwn(): Promise<void> {
    const own = [...this.#hosts]
      .filter((host) => {
        const { role, isolation, models } = host;
        return role === 'own' && isolation === 'shared' && !isLate(host) && ![...models.values()].some(isLarge);
      })
      .sort((a, b) => a.models.size - b.models.size);
    const [one, other] = own;
    if (own.length <= ownAtMost || !one || !other) return;
    await this.#takeOver([one, other], [...one.models.values(), ...other.models.values()], 'own');
    // Not in a loop: what cannot be moved stays, and would be moved again and again.
    if (!this.#hosts.has(one) && !this.#hosts.has(other)) await this.#mergeOwn();
  }

  #died(host: Host, error: Error): void {
    this.#hosts.delete(host);
    this.#dropSpare(host);
    const lost = [...host.models.values()];
    this.#crashed(lost, error);
    if (lost.some(({ hosts }) => hosts.includes(host))) void this.#takeOver([host], lost, host.role);
  }

  /**
   * A fresh thread takes over these models, all at once when it has loaded them. What it cannot load stays where it was, and
   * has no thread when that one died. Threads that hold nothing any more are ended.
   */
  async #takeOver(from: readonly Host[], entries: readonly PlacedModel[], role: Role): Promise<void> {
    const isThere = (entry: PlacedModel) =>
      this.#placed.get(entry.model.id) === entry && entry.hosts.some((host) => from.includes(host));
    const fresh = this.#fresh(from[0]?.isolation ?? 'shared');
    for (const entry of new Set(entries)) {
      // Loaded before, so this is a passing lack of memory, a file that is gone, or another death.
      if (isThere(entry))
        await openOn(fresh, entry).catch((error: unknown) => this.#crashed([entry], goneFile(entry) ?? error));
    }
    const holds = this.#hosts.has(fresh) ? [...fresh.models.values()] : [];
    fresh.role = role;
    for (const entry of holds) {
      if (isThere(entry)) this.#move(entry, from, fresh);
      else void this.#leave(fresh, entry);
    }
    for (const old of from) {
      old.thread.takeBack();
      if (!this.#hosts.has(old)) this.#abandon(old, entries);
      else if (old.models.size === 0) void this.#retire(old);
    }
    if (holds.length === 0) void this.#retire(fresh);
    this.#options.onEnded();
  }

  #move(entry: PlacedModel, from: readonly Host[], fresh: Host): void {
    const left = entry.hosts.filter((host) => from.includes(host));
    this.#setHosts(entry, [...new Set(entry.hosts.map((host) => (from.includes(host) ? fresh : host)))]);
    for (const host of left) if (host.models.delete(entry.model.id)) void host.thread.close(entry.model.id);
  }

  /** It died, and nothing took over what is left of it. */
  #abandon(dead: Host, entries: readonly PlacedModel[]): void {
    for (const entry of entries)
      if (entry.hosts.includes(dead))
        this.#setHosts(
          entry,
          entry.hosts.filter((host) => host !== dead),
        );
  }

  /** Serves nothing yet and holds no model. */
  #fresh(isolation: Isolation): Host {
    const spare = isolation === 'shared' ? this.#takeSpare() : undefined;
    return spare ?? this.#start(isolation);
  }

  #start(isolation: Isolation): Host {
    const host = startHost(isolation, freeNoteSlot(this.#hosts), {
      ...this.#options,
      onDied: (dead, error) => this.#died(dead, error),
    });
    this.#hosts.add(host);
    return host;
  }

  async #retire(host: Host): Promise<void> {
    this.#dropSpare(host);
    host.role = 'apart';
    await host.thread.end();
    this.#hosts.delete(host);
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

function isLarge({ fileBytes }: PlacedModel): boolean {
  return fileBytes > largeBytes;
}

/** That a file was removed since it was loaded is not its model's doing. */
function goneFile({ model }: PlacedModel): AppError | undefined {
  return existsSync(model.path) ? undefined : new AppError('unavailable', `its file ${model.path} is gone`);
}

/** ONNX Runtime says what is wrong with a file that can't be read. */
function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
