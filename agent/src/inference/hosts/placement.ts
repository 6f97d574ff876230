// Which worker threads hold which models. Small models share threads (each costs some 35 MB), a large one gets its own.
// ONNX Runtime gives memory back only with its thread, so a shared thread that has seen many models go is replaced.
//
// Changes take turns, so that each sees the outcome of the one before; only `isolate` does not.

import { statSync } from 'node:fs';
import { AppError } from '@edgeloop/shared/errors';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { ModelToOpen, OpenedModel } from '../worker/messages.ts';
import {
  freeNoteSlot,
  type Host,
  type HostOptions,
  type Isolation,
  openOn,
  type PlacedModel,
  startHost,
} from './host.ts';
import type { Lane } from './lane.ts';

export interface PlacementOptions extends HostOptions {
  /** Upper bound on the threads of one model, and the number of shared threads. */
  threads: number;
  /** A thread died, or a model's own process; another one takes its place. */
  onCrash(models: readonly { name: string; version: number; isolation: Isolation }[], error: Error): void;
}

/** A file of this size gets threads of its own. */
const largeBytes = 20 * 1024 * 1024;
const renewAfter = { models: 24, bytes: 64 * 1024 * 1024 };

/** So many threads may be kept by runs that take long, besides the shared ones. */
const isolatedAtMost = 4;

/** No threads before the first model. */
export class Placement {
  readonly #options: PlacementOptions;
  readonly #hosts = new Set<Host>();
  readonly #placed = new Map<number, PlacedModel>();
  readonly #changes = createTurn();

  constructor(options: PlacementOptions) {
    this.#options = options;
  }

  /** Loads the model in so many threads. `onLanes` is told of them, and again whenever they change. */
  place(
    model: ModelToOpen,
    instances: number,
    onLanes: (lanes: readonly Lane[]) => void,
  ): Promise<{ opened: OpenedModel; instances: number }> {
    return this.#changes.run(() =>
      this.#place({ model, fileBytes: sizeOf(model.path), hosts: [], onLanes }, instances),
    );
  }

  /** Nothing of the model may wait or run. */
  displace(id: number): Promise<void> {
    return this.#changes.run(async () => {
      const entry = this.#placed.get(id);
      if (!entry) return;
      this.#placed.delete(id);
      for (const host of entry.hosts) await this.#leave(host, entry);
    });
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
    late.late = true;
    late.thread.takeBack();
    const others = [...late.models.values()].filter(({ model }) => model.id !== culprit);
    const isolated = [...this.#hosts].filter(({ shared, isolation }) => !shared && isolation === 'shared').length;
    if (!late.shared || !late.inService || others.length === 0 || isolated >= isolatedAtMost) return;
    late.shared = false;
    const fresh = this.#start(true, false);
    try {
      for (const entry of others) {
        await openOn(fresh, entry);
        late.models.delete(entry.model.id);
        void late.thread.close(entry.model.id);
        // It may have gone meanwhile.
        if (this.#placed.has(entry.model.id)) this.#move(late, fresh);
        else await this.#leave(fresh, entry);
      }
    } catch (error) {
      this.#crashed(others, error);
    }
  }

  /** Ends all threads once they are idle. */
  close(): Promise<void> {
    return this.#changes.run(async () => {
      await Promise.all([...this.#hosts].map((host) => this.#retire(host)));
    });
  }

  async #place(entry: PlacedModel, instances: number): Promise<{ opened: OpenedModel; instances: number }> {
    const chosen = this.#choose(entry, instances);
    try {
      const opened = await openOnAll(chosen, entry);
      entry.hosts = chosen;
      this.#placed.set(entry.model.id, entry);
      entry.onLanes(chosen);
      return { opened, instances: chosen.length };
    } catch (error) {
      for (const host of chosen) await this.#leave(host, entry);
      throw error;
    }
  }

  /** Existing shared threads with the fewest models first; new ones as far as there may be. */
  #choose({ model: { isolation }, fileBytes }: PlacedModel, instances: number): Host[] {
    const own = (): Host[] => Array.from({ length: instances }, () => this.#start(false, true, isolation));
    const { threads } = this.#options;
    if (isolation === 'process') return own();
    const shared = [...this.#hosts]
      .filter(({ shared, inService, late }) => shared && inService && !late)
      .sort((a, b) => a.models.size - b.models.size);
    if (fileBytes > largeBytes || instances > threads) return own();
    while (shared.length < Math.min(instances, threads)) shared.push(this.#start(true, true));
    return shared.slice(0, instances);
  }

  /** Takes the model from the thread; ends the thread when it was the last, or soon replaces it when it has grown. */
  async #leave(host: Host, entry: PlacedModel): Promise<void> {
    if (!this.#hosts.has(host)) return;
    if (host.models.delete(entry.model.id)) {
      const closed = host.thread.close(entry.model.id);
      // A thread that is held up obeys when it can.
      if (!host.late) await closed;
    }
    host.gone.models++;
    host.gone.bytes += entry.fileBytes;
    if (host.models.size === 0) await (host.late ? undefined : this.#retire(host));
    else if (host.gone.models >= renewAfter.models || host.gone.bytes >= renewAfter.bytes) {
      void this.#changes.run(() => this.#renew(host));
    }
  }

  /** A fresh thread takes over all models; the old one finishes what it has. */
  async #renew(old: Host): Promise<void> {
    if (!this.#hosts.has(old) || old.late) return;
    old.gone = { models: 0, bytes: 0 };
    const fresh = this.#start(old.shared, false, old.isolation);
    try {
      for (const entry of old.models.values()) await openOn(fresh, entry);
    } catch (error) {
      // Loaded before, so this is a passing lack of memory or a file that is gone; the old thread serves on.
      await this.#retire(fresh);
      this.#crashed([...old.models.values()], error);
      return;
    }
    this.#move(old, fresh);
    await this.#retire(old);
  }

  #died(host: Host, error: Error): void {
    this.#hosts.delete(host);
    const lost = [...host.models.values()];
    this.#crashed(lost, error);
    if (lost.length > 0) void this.#changes.run(() => this.#replace(host));
  }

  async #replace(dead: Host): Promise<void> {
    const fresh = this.#start(dead.shared, false, dead.isolation);
    for (const [id, entry] of dead.models) {
      if (!this.#placed.has(id)) continue;
      try {
        await openOn(fresh, entry);
      } catch (error) {
        this.#crashed([entry], error);
        entry.hosts = entry.hosts.filter((host) => host !== dead);
        entry.onLanes(entry.hosts);
      }
    }
    this.#move(dead, fresh);
    if (fresh.models.size === 0) await this.#retire(fresh);
  }

  /** What the fresh one holds runs there from now on. */
  #move(old: Host, fresh: Host): void {
    fresh.inService = true;
    for (const entry of fresh.models.values()) {
      entry.hosts = entry.hosts.map((host) => (host === old ? fresh : host));
      entry.onLanes(entry.hosts);
    }
    this.#options.onEnded();
  }

  #start(shared: boolean, inService: boolean, isolation: Isolation = 'shared'): Host {
    const host = startHost({ shared, inService, isolation }, freeNoteSlot(this.#hosts), {
      ...this.#options,
      onDied: (dead, error) => this.#died(dead, error),
    });
    this.#hosts.add(host);
    return host;
  }

  async #retire(host: Host): Promise<void> {
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

/** Side by side only where nobody is kept waiting by it. Waits for all, also when one refuses it. */
async function openOnAll(hosts: readonly Host[], entry: PlacedModel): Promise<OpenedModel> {
  const idle = hosts.every(({ models, thread }) => models.size === 0 || thread.depth() === 0);
  const openings: Promise<OpenedModel>[] = [];
  for (const host of hosts) {
    openings.push(openOn(host, entry));
    if (!idle) await openings.at(-1);
  }
  const outcomes = await Promise.allSettled(openings);
  const refused = outcomes.find((outcome) => outcome.status === 'rejected');
  if (refused) throw refused.reason;
  const opened = await openings[0];
  if (!opened) throw new AppError('internal', 'a model needs at least one worker thread');
  return opened;
}

/** ONNX Runtime says what is wrong with a file that can't be read. */
function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
