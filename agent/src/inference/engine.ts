// The models of this process: loads versions into worker threads of their own, swaps them, and runs requests on them.
import { availableParallelism } from 'node:os';
import type { ModelSignature } from '@edgeloop/shared/tensors';
import type { ModelFiles } from '../ipc.ts';
import { createActiveModels, type Lease } from './active.ts';
import { type Batcher, createBatcher } from './batcher.ts';
import { type Interpretation, interpret } from './interpretation.ts';
import { createPool, type Pool } from './pool.ts';

export interface LoadedModel {
  files: ModelFiles;
  signature: ModelSignature;
  interpretation: Interpretation;
  batcher: Batcher;
}

export interface EngineOptions {
  /** Upper bound on worker threads of one model version; the cores when unset. */
  threads?: number | undefined;
  /** A worker thread died; another one takes its place. */
  onCrash(model: { name: string; version: number }, error: Error): void;
}

export type ModelLease = Lease<LoadedModel>;

export interface Engine {
  /** Warms a version beside what answers now; nothing to do when it is loaded. Throws `model_rejected`. */
  load(files: ModelFiles): Promise<void>;
  /** Swaps atomically. Throws `not_found` when the version isn't loaded. */
  activate(name: string, version: number): void;
  /** Ends once the requests in flight on the version are done and its threads are gone. */
  unload(name: string, version: number): Promise<void>;
  /** Throws `not_found` for unknown models, `unavailable` when none is active. */
  lease(name: string, version?: number): ModelLease;
  list(): { name: string; version: number; active: boolean; model: LoadedModel }[];
  /** Unloads everything. */
  close(): Promise<void>;
}

/** Waiting requests of one model version. Beyond, callers are told to come back. */
const queueBounds = { maxQueued: 1024, maxQueuedBytes: 128 * 1024 * 1024 };
/** More copies of a model seldom pay on devices, and each costs a thread of some 35 MB. */
const defaultInstances = 2;

/** An engine without models. */
export function createEngine(options: EngineOptions): Engine {
  const threads = options.threads ?? availableParallelism();
  const active = createActiveModels<LoadedModel & { pool: Pool }>();
  const pending = new Map<string, Promise<unknown>>();

  /** Loading and unloading the same version take turns. */
  const inTurn = <R>(name: string, version: number, work: () => Promise<R>): Promise<R> => {
    const key = `${name}@${version}`;
    const turn = (pending.get(key) ?? Promise.resolve()).then(work, work);
    pending.set(key, turn);
    const forget = (): void => {
      if (pending.get(key) === turn) pending.delete(key);
    };
    turn.then(forget, forget);
    return turn;
  };

  const load = async (files: ModelFiles): Promise<void> => {
    const { name, version, manifest } = files;
    if (active.has(name, version)) return;
    const pool = createPool({
      path: files.path,
      instances: Math.max(1, Math.min(manifest.instances ?? defaultInstances, threads)),
      onCrash: (error) => options.onCrash({ name, version }, error),
    });
    try {
      const { signature, batchable } = await pool.warm(files.golden);
      const interpretation = interpret(manifest, signature);
      const { run, instances } = pool;
      const batcher = createBatcher({ run, instances, batchable, policy: manifest.batching, ...queueBounds });
      active.add(name, version, { files, signature, interpretation, batcher, pool });
    } catch (error) {
      await pool.close();
      throw error;
    }
  };

  const unload = async (name: string, version: number): Promise<void> => {
    const model = await active.remove(name, version);
    await model?.pool.close();
  };

  return {
    load: (files) => inTurn(files.name, files.version, () => load(files)),
    activate: active.activate,
    unload: (name, version) => inTurn(name, version, () => unload(name, version)),
    lease: active.lease,
    list: active.list,
    async close() {
      await Promise.allSettled(pending.values());
      await Promise.all(active.list().map(({ name, version }) => unload(name, version)));
    },
  };
}
