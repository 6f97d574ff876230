// The models of this process: loads versions into worker threads, swaps them, and runs requests on them.

import { availableParallelism } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { type Interpretation, interpret } from '@edgeloop/shared/meaning/interpretation';
import { createKeyedTurn } from '@edgeloop/shared/node/turn';
import type { StepRun } from '@edgeloop/shared/pipeline/run';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import type { ModelFiles } from '../process/ipc.ts';
import { createActiveModels, type Lease } from './active.ts';
import { isCrowded } from './hosts/lane.ts';
import { Placement, type PlacementOptions } from './hosts/placement.ts';
import { createWatchdog } from './hosts/watchdog.ts';
import { ModelBatcher } from './queueing/batcher.ts';
import { createDispatcher } from './queueing/dispatcher.ts';
import { createRunHistory, type RunHistory } from './queueing/run-history.ts';
import { createStatistics, type StatisticsRecorder } from './queueing/statistics.ts';
import { createQuickModels, stampOf } from './quick-models.ts';
import type { ProvidersUsed, StepOfPipeline } from './worker/session.ts';

export interface LoadedModel {
  files: ModelFiles;
  signature: ModelSignature;
  /** Of a pipeline, in the order of their runs; else none. */
  steps: readonly StepOfPipeline[];
  interpretation: Interpretation;
  batcher: Pick<ModelBatcher, 'submit' | 'depth' | 'runs' | 'statistics' | 'maxBatch' | 'runsHere'>;
  runtime: ModelRuntime;
  /** The same for every arrangement of the same bytes: what is counted of a version goes by it. */
  counted: object;
}

/** How a version runs here. */
interface ModelRuntime {
  /** Most worker threads that hold it; further ones than the first come when there is work for them. */
  instances: number;
  intraOpThreads: number;
  /** Whether the first dimension is that of rows that stay apart, so that requests can share a run. */
  batchable: boolean;
  /** Why, or why not. */
  joining: string;
  providers: ProvidersUsed;
}

export interface EngineOptions {
  /** Upper bound on worker threads of one model version; the cores when unset. */
  threads?: number | undefined;
  /** Execution providers to try where a manifest names none. */
  providers?: readonly string[] | undefined;
  /** Whether quick models may run in this thread; they may when unset. */
  quickRuns?: boolean | undefined;
  /** Where it is noted what runs at this moment; see `process/running-note.ts`. */
  runningNotePath?: string | undefined;
  /** Bound of the resident set of a model that runs in a process of its own; none when unset. */
  maxRssBytes?: number | undefined;
  /** A worker thread died, or could not be replaced. */
  onCrash(model: { name: string; version: number }, error: Error): void;
  /** The same of a model's own process; of the others nothing was lost. */
  onModelDied?(model: { name: string; version: number }, error: Error): void;
  /** It was to run in this thread, too, and cannot be loaded here; it goes on as before. */
  onNotHere?(model: { name: string; version: number }, error: unknown): void;
  /** A run exceeds its bound and will block its thread until the process is ended. */
  onStuck?(model: { name: string; version: number }): void;
}

export type ModelLease = Lease<LoadedModel>;

export interface Engine {
  /** Starts the thread that the first model will need. Only what is loaded afterwards makes itself known outside. */
  prepare(): void;
  /**
   * Warms a version beside what answers now. One that is loaded from another file or to run otherwise is replaced: new
   * requests get the new one once it is warm, those in flight finish where they began; whether it is active stays. Nothing
   * to do when it is loaded just so. Throws `model_rejected`; what was loaded goes on then.
   */
  load(files: ModelFiles): Promise<void>;
  /** Swaps atomically. Throws `not_found` when the version isn't loaded. */
  activate(name: string, version: number): void;
  /** Ends once the requests in flight on the version are done and its memory is on its way back. */
  unload(name: string, version: number): Promise<void>;
  /** Throws `not_found` for unknown models, `unavailable` when none is active. */
  lease(name: string, version?: number): ModelLease;
  list(): { name: string; version: number; active: boolean; model: LoadedModel }[];
  /** Unloads everything. */
  close(): Promise<void>;
}

/** Waiting requests of one model version, and bytes of all. Beyond, callers are told to come back. */
const maxQueued = 1024;
const maxQueuedBytes = 64 * 1024 * 1024;
/** More copies of a model seldom pay on devices, and the second is started when the first has more than enough to do. */
const defaultInstances = 2;
const watchEveryMs = 100;
/** Others do not wait longer than this for a run that shares their thread. */
const lateMs = 200;
/** A version that is just being loaded has no bound of its own here: whoever asked for it has one. */
const loadingMs = 600_000;

interface Served extends LoadedModel {
  id: number;
  batcher: ModelBatcher;
  counted: StatisticsRecorder;
  history: RunHistory;
  /** At the last look one more thread would have been of use. */
  wasCrowded: boolean;
}

/** An engine without models. */
export function createEngine(options: EngineOptions): Engine {
  const threads = options.threads ?? availableParallelism();
  const active = createActiveModels<Served>();
  const byId = new Map<number, Served>();
  /** Loading and unloading the same version take turns. */
  const changes = createKeyedTurn();
  const dispatcher = createDispatcher();
  /** What was replaced and is still in use. */
  const leaving = new Set<Promise<void>>();
  let lastId = 0;

  let watching: NodeJS.Timeout | undefined;
  /** With the first model. */
  const begin = (): void => {
    watching ??= watch(placement, byId, options, quickModels.look);
  };

  const events = {
    onEnded: dispatcher.pumpSoon,
    onUnbatchable: (id: number) => stopJoining(byId.get(id)),
  };
  const onSteps = (id: number, runs: readonly StepRun[]) => byId.get(id)?.counted.stepped(runs);
  const placement = placementOf(options, threads, { ...events, onSteps });
  const quickModels = createQuickModels({
    ...events,
    runningNotePath: options.runningNotePath,
    nowMs: () => performance.now(),
    onRefused: (model, error) => options.onNotHere?.(model, error),
  });

  /** Nobody has a lease on it any more. */
  const dismiss = async (model: Served): Promise<void> => {
    dispatcher.remove(model.batcher);
    await quickModels.leave(model.id);
    await placement.displace(model.id);
    byId.delete(model.id);
  };

  /** Apart from the loading that replaced it, which need not wait for a run that takes long. */
  const letGo = (former: Promise<Served>): void => {
    const gone = former.then(dismiss).finally(() => leaving.delete(gone));
    leaving.add(gone);
  };

  const load = async (files: ModelFiles): Promise<void> => {
    begin();
    const { name, version, manifest, path, golden } = files;
    const held = active.get(name, version);
    if (held && isDeepStrictEqual(arrangedAs(held.files), arrangedAs(files))) return;
    const counted = held && isSameRelease(held.files, files) ? held.counted : createStatistics(Date.now);
    const history = createRunHistory((held ?? active.active(name))?.history);
    const id = ++lastId;
    const { instances, intraOpThreads, maxBatch } = arrangementOf(files, threads);
    const providers = manifest.providers ?? options.providers ?? [];
    let batcher: ModelBatcher | undefined;
    const { isolation, pipeline } = manifest;
    const model = { id, name, version, path, golden, intraOpThreads, providers, isolation, pipeline };
    const stamp = stampOf(path);
    const opened = await placement.place(model, instances, (lanes) => batcher?.setLanes(lanes));
    const { signature, joining } = opened;
    try {
      const quick =
        options.quickRuns === false ? undefined : quickModels.standingOf(files, { ...model, stamp }, opened);
      const interpretation = interpret(manifest, signature);
      batcher = new ModelBatcher({
        id,
        signature,
        batchable: joining.allowed,
        statistics: counted,
        history,
        quick,
        policy: { ...manifest.batching, maxBatch },
        maxQueued,
        bytesFree: () => maxQueuedBytes - dispatcher.waitingBytes(),
        pump: dispatcher.pumpSoon,
      });
      batcher.setLanes(placement.lanesOf(id));
      const { allowed: batchable, reason } = joining;
      const runtime = {
        instances: instances.most,
        intraOpThreads,
        batchable,
        joining: reason,
        providers: opened.providers,
      };
      const { steps = [] } = opened;
      const served: Served = {
        ...{ id, files, signature, steps, interpretation, batcher, runtime, counted, history },
        wasCrowded: false,
      };
      byId.set(id, served);
      dispatcher.add(batcher);
      const former = active.put(name, version, served);
      if (former) letGo(former);
    } catch (error) {
      await quickModels.leave(id);
      await placement.displace(id);
      throw error;
    }
  };

  const unload = async (name: string, version: number): Promise<void> => {
    const model = await active.remove(name, version);
    if (model) await dismiss(model);
  };

  return {
    prepare: () => placement.prepare(),
    load: (files) => changes.run(keyOf(files), () => load(files)),
    activate: active.activate,
    unload: (name, version) => changes.run(keyOf({ name, version }), () => unload(name, version)),
    lease: active.lease,
    list: active.list,
    async close() {
      clearInterval(watching);
      await changes.idle();
      await Promise.all(active.list().map(({ name, version }) => unload(name, version)));
      await Promise.all(leaving);
      await quickModels.close();
      await placement.close();
    },
  };
}

function stopJoining(model: Served | undefined): void {
  if (!model) return;
  model.batcher.stopBatching();
  model.runtime.batchable = false;
  model.runtime.joining = 'it did not give a row for each row when requests shared a run';
}

/** All that tells one loading of a version from another. A file with a digest may lie anywhere. */
function arrangedAs({ golden: _, suspected: __, path, ...files }: ModelFiles) {
  return { ...files, path: files.digest === undefined ? path : undefined };
}

function isSameRelease(a: ModelFiles, b: ModelFiles): boolean {
  return a.digest !== undefined && a.digest === b.digest && a.release === b.release;
}

/** How a version is to run: as its manifest says, else as it was measured, else by default. */
function arrangementOf({ manifest, tuning }: ModelFiles, threads: number) {
  const { maxBatch } = manifest.batching;
  const most = Math.max(1, Math.min(manifest.instances ?? tuning?.instances ?? defaultInstances, threads));
  return {
    // What somebody wrote down is there at once.
    instances: { first: manifest.instances === undefined ? 1 : most, most },
    intraOpThreads: Math.min(tuning?.intraOpThreads ?? 1, threads),
    maxBatch: Math.min(maxBatch, tuning?.maxBatch ?? maxBatch),
  };
}

function placementOf(
  { runningNotePath, maxRssBytes = Number.POSITIVE_INFINITY, onCrash, onModelDied }: EngineOptions,
  threads: number,
  events: Pick<PlacementOptions, 'onEnded' | 'onUnbatchable' | 'onSteps'>,
): Placement {
  return new Placement({
    ...events,
    threads,
    runningNotePath,
    maxRssBytes,
    onCrash: (models, error) => {
      for (const { name, version, isolation } of models) {
        onCrash({ name, version }, error);
        if (isolation === 'process') onModelDied?.({ name, version }, error);
      }
    },
  });
}

/** Looks at the runs until the timer is cleared. */
function watch(
  placement: Placement,
  byId: ReadonlyMap<number, Served>,
  { onStuck }: EngineOptions,
  also: () => void,
): NodeJS.Timeout {
  const look = createWatchdog({
    lanes: () => placement.lanes(),
    lateMs,
    onLate: (lane, id) => void placement.isolate(lane, id),
    maxRunMs: (id) => byId.get(id)?.files.manifest.maxRunMs ?? loadingMs,
    farBeyondMs: ({ plannedBytes }, id) => byId.get(id)?.history.farBeyondMs(plannedBytes),
    onStuck: ({ thread }, id, tookMs) => {
      const files = byId.get(id)?.files;
      if (thread.kill) return thread.kill(`a run did not return within ${(tookMs / 1000).toFixed(1)} s`);
      if (files) onStuck?.({ name: files.name, version: files.version });
    },
    nowMs: () => performance.now(),
  });
  const lookAtAll = (): void => {
    look();
    also();
    for (const model of byId.values()) growIfCrowded(placement, model);
  };
  return setInterval(lookAtAll, watchEveryMs).unref();
}

/** Twice in a row, since two callers may meet by chance: one more thread takes memory for as long as the model is there. */
function growIfCrowded(placement: Placement, model: Served): void {
  const crowded = isCrowded(placement.lanesOf(model.id), model.batcher.depth());
  if (crowded && model.wasCrowded) void placement.grow(model.id);
  model.wasCrowded = crowded;
}

function keyOf({ name, version }: Pick<ModelFiles, 'name' | 'version'>): string {
  return `${name}@${version}`;
}
