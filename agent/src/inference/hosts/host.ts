// A worker with the models that it holds, as placement sees it.
import type { ModelToOpen, OpenedModel } from '../worker/messages.ts';
import type { Lane } from './lane.ts';
import { startModelProcess } from './model-process.ts';
import type { WorkerEvents } from './worker.ts';
import { startWorkerThread } from './worker-thread.ts';

export type Isolation = ModelToOpen['isolation'];

/** A model and the hosts that hold it. */
export interface PlacedModel {
  model: ModelToOpen;
  fileBytes: number;
  hosts: Host[];
  onLanes(lanes: readonly Lane[]): void;
}

interface HostKind {
  /** By several models. */
  shared: boolean;
  isolation: Isolation;
  /** False while it is being filled to take the place of another one. */
  inService: boolean;
}

export interface Host extends Lane, HostKind {
  /** Its slot in the running note. */
  noteSlot: number;
  models: Map<number, PlacedModel>;
  /** Models and bytes of files that have gone since it started. */
  gone: { models: number; bytes: number };
}

export interface HostOptions {
  runningNotePath: string | undefined;
  /** Bound of the resident set of a model's own process. */
  maxRssBytes: number;
  /** A worker has room again. */
  onEnded(): void;
  onUnbatchable(model: number): void;
}

/** Without models. `onDied` is told when it is gone though nobody ended it. */
export function startHost(
  kind: HostKind,
  noteSlot: number,
  options: HostOptions & { onDied(host: Host, error: Error): void },
): Host {
  const events: WorkerEvents = {
    onEnded() {
      host.full = false;
      host.late = false;
      options.onEnded();
    },
    onUnbatchable: options.onUnbatchable,
    onDied: (error) => options.onDied(host, error),
  };
  const { runningNotePath: path, maxRssBytes } = options;
  const thread =
    kind.isolation === 'process'
      ? startModelProcess({ ...events, maxRssBytes })
      : startWorkerThread({ ...events, runningNote: path === undefined ? undefined : { path, slot: noteSlot } });
  const state = { plannedMs: 0, opening: false, late: false, full: false };
  const host: Host = { ...state, ...kind, thread, noteSlot, models: new Map(), gone: { models: 0, bytes: 0 } };
  return host;
}

/** Loads the model there. Throws `model_rejected`. */
export async function openOn(host: Host, placed: PlacedModel): Promise<OpenedModel> {
  host.opening = true;
  try {
    const opened = await host.thread.open(placed.model);
    host.models.set(placed.model.id, placed);
    return opened;
  } finally {
    host.opening = false;
    host.late = false;
  }
}

/** The smallest number that no host has. */
export function freeNoteSlot(hosts: Iterable<Host>): number {
  const taken = new Set<number>();
  for (const { noteSlot } of hosts) taken.add(noteSlot);
  let slot = 0;
  while (taken.has(slot)) slot++;
  return slot;
}
