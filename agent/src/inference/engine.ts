// The models of this process: loads versions into worker threads, swaps them, and runs requests on them.

import { availableParallelism } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { AppError } from '@edgeloop/shared/errors';
import { type Interpretation, interpret } from '@edgeloop/shared/meaning/interpretation';
import { createKeyedTurn } from '@edgeloop/shared/node/turn';
import type { StepRun } from '@edgeloop/shared/pipeline/run';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import type { ModelFiles } from '../process/ipc.ts';
import { createActiveModels, type Lease } from './active.ts';
import { isCrowded, type Lane } from './hosts/lane.ts';
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

/** A version that runs beside the one that answers, in a process of its own. Who asks for a version never meets it. */
export interface BesideModel {
  mode: 'shadow' | 'split';
  /** Of `split`: the share of requests that it answers. */
  share: number;
  /** Of `shadow`: the share of one core that it may take. */
  processorShare: number;
  /** The release that it runs beside; with another one it has nothing to do. */
  against: string;
  name: string;
  version: number;
  model: LoadedModel;
  /** Processor time that its process has had; undefined where the system does not tell. */
  processorMs(): number | undefined;
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
  /** The same of a model's own process; of the others nothing was lost. `beside`: it ran beside what answers. */
  onModelDied?(model: { name: string; version: number; beside: boolean }, error: Error): void;
  /** It was to run in this thread, too, and cannot be loaded here; it goes on as before. */
  onNotHere?(model: { name: string; version: number }, error: unknown): void;
  /** A run exceeds its bound and will block its thread until the process is ended. */
  onStuck?(model: { name: string; version: number }): void;
}

export type ModelLease = Lease<LoadedModel>;
type BesideTerms = Pick<BesideModel, 'mode' | 'share' | 'processorShare' | 'against'>;

export interface Engine {
  /** Starts the thread that the first model will need; it ends when none comes for so long. Only what is loaded afterwards makes itself known outside. */
  prepare(forMs?: number): void;
  /**
   * Warms a version beside what answers now. One that is loaded from another file or to run otherwise is replaced: new
   * requests get the new one once it is warm, those in flight finish where they began; whether it is active stays. Nothing
   * to do when it is loaded just so. Throws `model_rejected`; what was loaded goes on then.
   */
  load(files: ModelFiles): Promise<void>;
  /**
   * Loads a version in a process of its own, to run beside the one that answers; what ran so before is replaced. Throws
   * `model_rejected`, and `unsupported` for a shadow that takes other inputs.
   */
  attach(files: ModelFiles, how: BesideTerms): Promise<void>;
  /** Ends once the requests in flight on it are done. Nothing to do when there is none. */
  detach(name: string): Promise<void>;
  /** What runs beside this very model now. */
  beside(lease: ModelLease): BesideModel | undefined;
  /** To answer a request with what runs beside. Throws `not_found` when it is gone. */
  leaseBeside(name: string): ModelLease;
  /** All that run beside others. */
  besides(): readonly BesideModel[];
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
  /** It runs beside what answers. */
  apart: boolean;
  /** At the last look one more thread would have been of use. */
  wasCrowded: boolean;
}

/** An engine without models. */
export function createEngine(options: EngineOptions): Engine {
  const threads = options.threads ?? availableParallelism();
  const active = createActiveModels<Served>();
  /** Those that run beside what is active: one a model. */
  const apart = createActiveModels<Served>();
  const besides = new Map<string, BesideModel>();
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
  const isApart = (id: number) => byId.get(id)?.apart === true;
  const placement = placementOf(options, threads, { ...events, onSteps, isApart });
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
    const { name, version } = files;
    const held = active.get(name, version);
    if (held && isDeepStrictEqual(arrangedAs(held.files), arrangedAs(files))) return;
    const counted = held && isSameRelease(held.files, files) ? held.counted : createStatistics(Date.now);
    const history = createRunHistory((held ?? active.active(name))?.history);
    const former = active.put(name, version, await warm(files, { counted, history, apart: false }));
    if (former) letGo(former);
  };

  const warm = async (files: ModelFiles, as: Pick<Served, 'counted' | 'history' | 'apart'>): Promise<Served> => {
    begin();
    const { counted, history } = as;
    const { name, version, manifest, path, golden } = files;
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
      const mayBeQuick = options.quickRuns !== false && !as.apart;
      const quick = mayBeQuick ? quickModels.standingOf(files, { ...model, stamp }, opened) : undefined;
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
        ...{ apart: as.apart, wasCrowded: false },
      };
      byId.set(id, served);
      dispatcher.add(batcher);
      return served;
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

  const detach = async (name: string): Promise<void> => {
    const { version } = besides.get(name) ?? {};
    besides.delete(name);
    const model = version === undefined ? undefined : await apart.remove(name, version);
    if (model) await dismiss(model);
  };

  const attach = async (given: ModelFiles, how: BesideTerms): Promise<void> => {
    const { name, version } = given;
    const files = arrangedApart(given, how.mode);
    const held = apart.get(name, version);
    const isHere = held !== undefined && isDeepStrictEqual(arrangedAs(held.files), arrangedAs(files));
    if (!isHere) await detach(name);
    const fresh = { counted: createStatistics(Date.now), history: createRunHistory(undefined), apart: true };
    const model = isHere ? held : await warm(files, fresh);
    const beside = active.active(name);
    if (how.mode === 'shadow' && beside !== undefined && !isHere) {
      const difference = differenceOfInputs(beside, model);
      if (difference !== undefined) {
        await dismiss(model);
        throw new AppError(
          'unsupported',
          `it cannot run as a shadow of version ${beside.files.version}: ${difference}`,
        );
      }
    }
    if (!isHere) apart.put(name, version, model);
    apart.activate(name, version);
    besides.set(name, { ...how, name, version, model, processorMs: () => processorMsOf(placement.lanesOf(model.id)) });
  };

  return {
    prepare: (forMs) => placement.prepare(forMs),
    load: (files) => changes.run(keyOf(files), () => load(files)),
    activate: active.activate,
    unload: (name, version) => changes.run(keyOf({ name, version }), () => unload(name, version)),
    attach: (files, how) => changes.run(besideKey(files.name), () => attach(files, how)),
    detach: (name) => changes.run(besideKey(name), () => detach(name)),
    beside(lease) {
      const found = besides.get(lease.name);
      return found !== undefined && found.against === lease.model.files.release ? found : undefined;
    },
    leaseBeside: (name) => apart.lease(name),
    besides: () => [...besides.values()],
    lease: active.lease,
    list: active.list,
    async close() {
      clearInterval(watching);
      await changes.idle();
      await Promise.all([...besides.keys()].map(detach));
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

/** A shadow gets one thread, whatever is written: what it may take is bounded. */
function arrangedApart(files: ModelFiles, mode: BesideModel['mode']): ModelFiles {
  const manifest = { ...files.manifest, isolation: 'process' as const };
  if (mode === 'split') return { ...files, manifest };
  return { ...files, tuning: undefined, manifest: { ...manifest, instances: 1, cache: undefined } };
}

/** Why a shadow cannot be given the inputs of the other; undefined when it can. */
function differenceOfInputs(one: LoadedModel, other: LoadedModel): string | undefined {
  const typesOf = ({ signature }: LoadedModel) =>
    signature.inputs.map(({ name, datatype, shape }) => `${name} ${datatype} of ${shape.length} dimensions`).join(', ');
  const namesOf = ({ interpretation }: LoadedModel) => [...interpretation.featureNames];
  if (typesOf(one) !== typesOf(other)) return `it takes ${typesOf(other)}, and that one ${typesOf(one)}`;
  if (isDeepStrictEqual(namesOf(one), namesOf(other))) return undefined;
  return 'its features are others, or in another order';
}

function processorMsOf(lanes: readonly Lane[]): number | undefined {
  return lanes.reduce<number | undefined>((sum, { thread }) => {
    const own = thread.processMs?.();
    return sum === undefined || own === undefined ? undefined : sum + own;
  }, 0);
}

function besideKey(name: string): string {
  return `${name} beside`;
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
  {
    isApart,
    ...events
  }: Pick<PlacementOptions, 'onEnded' | 'onUnbatchable' | 'onSteps'> & {
    isApart(id: number): boolean;
  },
): Placement {
  return new Placement({
    ...events,
    threads,
    runningNotePath,
    maxRssBytes,
    onCrash: (models, error) => {
      for (const { id, name, version, isolation } of models) {
        onCrash({ name, version }, error);
        if (isolation === 'process') onModelDied?.({ name, version, beside: isApart(id) }, error);
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
