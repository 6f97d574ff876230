// Which worker threads hold which models. Small models share threads (each costs some 35 MB), a large one gets its own.
// ONNX Runtime gives memory back only with its thread, so a shared thread that has seen many models go is replaced.

import { statSync } from 'node:fs';
import { AppError } from '@edgeloop/shared/errors';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { ModelToOpen, OpenedModel } from '../worker/messages.ts';
import type { Lane } from './lane.ts';
import { startModelProcess } from './model-process.ts';
import { startWorkerThread, type WorkerThreadOptions } from './worker-thread.ts';

export interface PlacementOptions {
  /** Upper bound on the threads of one model, and the number of shared threads. */
  threads: number;
  runningNotePath: string | undefined;
  /** Bound of the resident set of a model's own process. */
  maxRssBytes: number;
  /** A thread has room again. */
  onEnded(): void;
  onUnbatchable(model: number): void;
  /** A thread died, or a model's own process; another one takes its place. */
  onCrash(models: readonly { name: string; version: number; isolation: Isolation }[], error: Error): void;
}

interface Placed {
  opened: OpenedModel;
  instances: number;
}

export interface Placement {
  /** Loads the model in so many threads. `onLanes` is told of them, and again whenever they change. */
  place(model: ModelToOpen, instances: number, onLanes: (lanes: readonly Lane[]) => void): Promise<Placed>;
  /** Nothing of the model may wait or run. */
  displace(model: number): Promise<void>;
  /** Of all models. */
  lanes(): readonly Host[];
  /** The thread's present run, of this model, takes long: nobody else is to wait for it. */
  isolate(host: Host, model: number): Promise<void>;
  lanesOf(model: number): readonly Lane[];
  /** Ends all threads once they are idle. */
  close(): Promise<void>;
}

type Isolation = ModelToOpen['isolation'];

interface Host extends Lane {
  shared: boolean;
  isolation: Isolation;
  /** False while it is being filled to take the place of another one. */
  inService: boolean;
  noteSlot: number;
  models: Map<number, PlacedModel>;
  /** Models and bytes of files that have gone since it started. */
  gone: { models: number; bytes: number };
}

interface PlacedModel {
  model: ModelToOpen;
  fileBytes: number;
  hosts: Host[];
  onLanes(lanes: readonly Lane[]): void;
}

/** A file of this size gets threads of its own. */
const largeBytes = 20 * 1024 * 1024;
const renewAfter = { models: 24, bytes: 64 * 1024 * 1024 };

/** So many threads may be kept by runs that take long, besides the shared ones. */
const isolatedAtMost = 4;

/** No threads before the first model. */
export function createPlacement(options: PlacementOptions): Placement {
  const hosts = new Set<Host>();
  const placed = new Map<number, PlacedModel>();
  /** Changes take turns, so that each sees the outcome of the one before. */
  const changes = createTurn();

  const start = (shared: boolean, inService: boolean, isolation: Isolation = 'shared'): Host => {
    const taken = new Set([...hosts].map(({ noteSlot }) => noteSlot));
    let noteSlot = 0;
    while (taken.has(noteSlot)) noteSlot++;
    const { runningNotePath: path } = options;
    const events: Omit<WorkerThreadOptions, 'runningNote'> = {
      onEnded() {
        host.full = false;
        host.late = false;
        options.onEnded();
      },
      onUnbatchable: options.onUnbatchable,
      onDied: (error) => died(host, error),
    };
    const models = new Map<number, PlacedModel>();
    const gone = { models: 0, bytes: 0 };
    const thread =
      isolation === 'process'
        ? startModelProcess({ ...events, maxRssBytes: options.maxRssBytes })
        : startWorkerThread({ ...events, runningNote: path === undefined ? undefined : { path, slot: noteSlot } });
    const state = { plannedMs: 0, opening: false, late: false, full: false };
    const host: Host = { ...state, thread, shared, isolation, inService, noteSlot, models, gone };
    hosts.add(host);
    return host;
  };

  const open = async (host: Host, entry: PlacedModel): Promise<OpenedModel> => {
    host.opening = true;
    try {
      const opened = await host.thread.open(entry.model);
      host.models.set(entry.model.id, entry);
      return opened;
    } finally {
      host.opening = false;
      host.late = false;
    }
  };

  const retire = async (host: Host): Promise<void> => {
    await host.thread.end();
    hosts.delete(host);
  };

  /** Existing shared threads with the fewest models first; new ones as far as there may be. */
  const choose = ({ isolation }: ModelToOpen, instances: number, fileBytes: number): Host[] => {
    if (isolation === 'process') return Array.from({ length: instances }, () => start(false, true, isolation));
    const shared = [...hosts]
      .filter(({ shared, inService, late }) => shared && inService && !late)
      .sort((a, b) => a.models.size - b.models.size);
    if (fileBytes > largeBytes || instances > options.threads)
      return Array.from({ length: instances }, () => start(false, true));
    while (shared.length < Math.min(instances, options.threads)) shared.push(start(true, true));
    return shared.slice(0, instances);
  };

  const place = async (
    model: ModelToOpen,
    instances: number,
    onLanes: (lanes: readonly Lane[]) => void,
  ): Promise<Placed> => {
    const fileBytes = sizeOf(model.path);
    const entry: PlacedModel = { model, fileBytes, hosts: [], onLanes };
    const chosen = choose(model, instances, fileBytes);
    try {
      // Side by side only where nobody is kept waiting by it.
      const idle = chosen.every(({ models, thread }) => models.size === 0 || thread.depth() === 0);
      const openings: Promise<OpenedModel>[] = [];
      for (const host of chosen) {
        openings.push(open(host, entry));
        if (!idle) await openings.at(-1);
      }
      const outcomes = await Promise.allSettled(openings);
      const refused = outcomes.find((outcome) => outcome.status === 'rejected');
      if (refused) throw refused.reason;
      const opened = await openings[0];
      if (!opened) throw new AppError('internal', 'a model needs at least one worker thread');
      entry.hosts = chosen;
      placed.set(model.id, entry);
      onLanes(chosen);
      return { opened, instances: chosen.length };
    } catch (error) {
      for (const host of chosen) await leave(host, entry);
      throw error;
    }
  };

  /** Takes the model from the thread; ends the thread when it was the last, or soon replaces it when it has grown. */
  const leave = async (host: Host, entry: PlacedModel): Promise<void> => {
    if (!hosts.has(host)) return;
    if (host.models.delete(entry.model.id)) {
      const closed = host.thread.close(entry.model.id);
      // A thread that is held up obeys when it can.
      if (!host.late) await closed;
    }
    host.gone.models++;
    host.gone.bytes += entry.fileBytes;
    if (host.models.size === 0) await (host.late ? undefined : retire(host));
    else if (host.gone.models >= renewAfter.models || host.gone.bytes >= renewAfter.bytes) {
      void changes.run(() => renew(host));
    }
  };

  /** A fresh thread takes over all models; the old one finishes what it has. */
  const renew = async (old: Host): Promise<void> => {
    if (!hosts.has(old) || old.late) return;
    old.gone = { models: 0, bytes: 0 };
    const fresh = start(old.shared, false, old.isolation);
    try {
      for (const entry of old.models.values()) await open(fresh, entry);
    } catch (error) {
      // Loaded before, so this is a passing lack of memory or a file that is gone; the old thread serves on.
      await retire(fresh);
      options.onCrash(
        [...old.models.values()].map(({ model }) => model),
        error instanceof Error ? error : new Error(String(error)),
      );
      return;
    }
    move(old, fresh);
    await retire(old);
  };

  const move = (old: Host, fresh: Host): void => {
    fresh.inService = true;
    for (const entry of fresh.models.values()) {
      entry.hosts = entry.hosts.map((host) => (host === old ? fresh : host));
      entry.onLanes(entry.hosts);
    }
    options.onEnded();
  };

  /**
   * A run that takes long keeps its thread; the other models get another one. Not in turn with other changes, since one
   * of them may be waiting for this very thread.
   */
  const isolate = async (late: Host, culprit: number): Promise<void> => {
    late.late = true;
    late.thread.takeBack();
    const others = [...late.models.values()].filter(({ model }) => model.id !== culprit);
    const isolated = [...hosts].filter(({ shared, isolation }) => !shared && isolation === 'shared').length;
    if (!late.shared || !late.inService || others.length === 0 || isolated >= isolatedAtMost) return;
    late.shared = false;
    const fresh = start(true, false);
    try {
      for (const entry of others) {
        await open(fresh, entry);
        late.models.delete(entry.model.id);
        void late.thread.close(entry.model.id);
        // It may have gone meanwhile.
        if (placed.has(entry.model.id)) move(late, fresh);
        else await leave(fresh, entry);
      }
    } catch (error) {
      options.onCrash(
        others.map(({ model }) => model),
        error instanceof Error ? error : new Error(String(error)),
      );
    }
  };

  const died = (host: Host, error: Error): void => {
    hosts.delete(host);
    const lost = [...host.models.values()];
    options.onCrash(
      lost.map(({ model }) => model),
      error,
    );
    if (lost.length > 0) void changes.run(() => replace(host));
  };

  const replace = async (dead: Host): Promise<void> => {
    const fresh = start(dead.shared, false, dead.isolation);
    for (const [id, entry] of dead.models) {
      if (!placed.has(id)) continue;
      try {
        await open(fresh, entry);
      } catch (error) {
        options.onCrash([entry.model], error instanceof Error ? error : new Error(String(error)));
        entry.hosts = entry.hosts.filter((host) => host !== dead);
        entry.onLanes(entry.hosts);
      }
    }
    move(dead, fresh);
    if (fresh.models.size === 0) await retire(fresh);
  };

  return {
    place: (model, instances, onLanes) => changes.run(() => place(model, instances, onLanes)),
    displace: (id) =>
      changes.run(async () => {
        const entry = placed.get(id);
        placed.delete(id);
        for (const host of entry?.hosts ?? []) await leave(host, entry ?? missing());
      }),
    lanes: () => [...hosts],
    isolate,
    lanesOf: (id) => placed.get(id)?.hosts ?? [],
    close: () => changes.run(async () => void (await Promise.all([...hosts].map(retire)))),
  };
}

function missing(): never {
  throw new AppError('internal', 'the model is in no worker thread');
}

/** ONNX Runtime says what is wrong with a file that can't be read. */
function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
