// A worker with the models that it holds, as placement sees it.
import { AppError } from '@edgeloop/shared/errors';
import { httpThreadSlot } from '../../process/running-note.ts';
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
  /** Most hosts that it may have. */
  instances: number;
  hosts: Host[];
  onLanes(lanes: readonly Lane[]): void;
}

/** `apart`: it serves nothing, since a model is tried there or it is being filled or emptied. `own`: of its models alone. */
export type Role = 'apart' | 'shared' | 'own';

export interface Host extends Lane {
  role: Role;
  isolation: Isolation;
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
  onSteps: WorkerEvents['onSteps'];
}

/** A file of this size gets threads of its own. */
const largeBytes = 20 * 1024 * 1024;

export function isLarge({ fileBytes }: PlacedModel): boolean {
  return fileBytes > largeBytes;
}

/** The hosts that hold the model from now on. */
export function setHosts(entry: PlacedModel, hosts: Host[]): void {
  entry.hosts = hosts;
  entry.onLanes(hosts);
}

/** Without models, serving nothing. `onDied` is told when it is gone though nobody ended it. */
export function startHost(
  isolation: Isolation,
  noteSlot: number,
  options: HostOptions & { onDied(host: Host, error: Error): void },
): Host {
  const events: WorkerEvents = {
    onEnded() {
      host.full = false;
      options.onEnded();
    },
    onUnbatchable: options.onUnbatchable,
    onSteps: options.onSteps,
    onDied: (error) => options.onDied(host, error),
  };
  const { runningNotePath: path, maxRssBytes } = options;
  const thread =
    isolation === 'process'
      ? startModelProcess({ ...events, maxRssBytes })
      : startWorkerThread({ ...events, runningNote: path === undefined ? undefined : { path, slot: noteSlot } });
  const host: Host = {
    role: 'apart',
    isolation,
    thread,
    noteSlot,
    plannedMs: 0,
    plannedBytes: 0,
    opening: false,
    lateRun: undefined,
    full: false,
    models: new Map(),
    gone: { models: 0, bytes: 0 },
  };
  return host;
}

/** Loads the model in all of these, which serve nothing yet. Waits for all, also when one refuses it. */
export async function openOnAll(hosts: readonly Host[], placed: PlacedModel): Promise<OpenedModel> {
  const outcomes = await Promise.allSettled(hosts.map((host) => openOn(host, placed)));
  const refused = outcomes.find((outcome) => outcome.status === 'rejected');
  if (refused) throw refused.reason;
  const opened = outcomes.find((outcome) => outcome.status === 'fulfilled');
  if (!opened) throw new AppError('internal', 'a model needs at least one worker thread');
  return opened.value;
}

/** Loads the model there. Throws `model_rejected`. */
export async function openOn(host: Host, placed: PlacedModel): Promise<OpenedModel> {
  host.opening = true;
  try {
    const opened = await host.thread.open(placed.model);
    placed.model.joining ??= opened.joining;
    host.models.set(placed.model.id, placed);
    return { ...opened, joining: placed.model.joining };
  } finally {
    host.opening = false;
  }
}

/** The smallest number that no host has; the first is that of the thread that starts them. */
export function freeNoteSlot(hosts: Iterable<Host>): number {
  const taken = new Set<number>();
  for (const { noteSlot } of hosts) taken.add(noteSlot);
  let slot = httpThreadSlot + 1;
  while (taken.has(slot)) slot++;
  return slot;
}
