// What is known of one model of a folder, and what follows from it: pure, apart from the records that it keeps.
import type { AppError } from '@edgeloop/shared/errors';
import type { Manifest } from '@edgeloop/shared/manifest';
import { backoffMs } from '@edgeloop/shared/node/backoff';
import type { KnownModel, ModelFiles } from '../../process/ipc.ts';
import type { Failure } from '../failure.ts';
import { type FoundModel, wantedVersions } from './scan.ts';

export interface FolderVersion {
  /** How its files looked the last time. */
  seen: string;
  /** It looked the same twice, so nobody is writing it. */
  settled: boolean;
  /** How they looked when it was last tried. */
  tried: string | undefined;
  /** What was last proven; of an earlier state of the files when `problem` is set. */
  files: ModelFiles | undefined;
  /** Why the files as they are now are not served. */
  problem: Failure | undefined;
  /** How often in a row these files could not be tried, by no doing of theirs. */
  hindered: number;
}

const retry = { firstMs: 500, mostMs: 60_000 };
/** With the pauses between them, about a quarter of an hour. */
const hinderedAtMost = 20;

/** When to try files again that could not be tried, in milliseconds; undefined when that was done often enough. */
export function nextTryMs(version: FolderVersion): number | undefined {
  version.hindered += 1;
  return version.hindered > hinderedAtMost ? undefined : backoffMs(version.hindered, retry);
}

export interface FolderModel {
  policy: Manifest['versions'];
  /** Why `model.json` cannot be used; what serves goes on as it is. */
  error: AppError | undefined;
  versions: Map<number, FolderVersion>;
  /** Taken away by a caller. */
  unloaded: boolean;
}

export function newFolderModel(): FolderModel {
  return { policy: undefined, error: undefined, versions: new Map(), unloaded: false };
}

/** Takes down what was found; false when something still has to settle. `atOnce`: it is not being written, whatever it looked like. */
export function note(model: FolderModel, { policy, error, versions }: FoundModel, atOnce: boolean): boolean {
  model.error = error;
  if (error === undefined) model.policy = policy;
  const present = new Set(versions.map(({ version }) => version));
  for (const version of model.versions.keys()) if (!present.has(version)) model.versions.delete(version);
  let settled = true;
  for (const { version, stamp } of versions) {
    const known = model.versions.get(version);
    if (known === undefined) {
      const fresh = {
        seen: stamp,
        settled: atOnce,
        tried: undefined,
        files: undefined,
        problem: undefined,
        hindered: 0,
      };
      model.versions.set(version, fresh);
    } else {
      known.settled = atOnce || known.seen === stamp;
      if (known.seen !== stamp) known.hindered = 0;
      known.seen = stamp;
    }
    settled &&= known?.settled ?? atOnce;
  }
  return settled;
}

/** Those that the policy picks from what is no failure; what is held goes on although its files were spoilt. */
function wantedOf(model: FolderModel, holds: readonly number[]): number[] {
  if (model.unloaded) return [];
  const eligible = [...model.versions]
    .filter(([version, { problem, tried, seen, files }]) => {
      if (problem === undefined || tried !== seen) return true;
      return files !== undefined && holds.includes(version);
    })
    .map(([version]) => version)
    .sort((a, b) => a - b);
  return wantedVersions(model.policy, eligible);
}

/** The next version to read and prove, the highest first; undefined when there is none or it is still being written. */
export function versionToPrepare(model: FolderModel, holds: readonly number[]): number | undefined {
  if (model.error !== undefined) return undefined;
  const next = wantedOf(model, holds).findLast((version) => {
    const known = model.versions.get(version);
    return known !== undefined && known.tried !== known.seen;
  });
  return next !== undefined && model.versions.get(next)?.settled === true ? next : undefined;
}

/** What the serving process is to hold, ascending; the last one answers. */
export function plannedVersions(model: FolderModel, holds: readonly number[]): ModelFiles[] {
  const wanted = wantedOf(model, holds);
  const isReady = (version: number) => model.versions.get(version)?.files !== undefined;
  const ready = wanted.filter(isReady);
  // Until all that is wanted is ready, nothing is taken away that still lies there.
  const kept = ready.length < wanted.length ? holds.filter(isReady) : [];
  return [...new Set([...ready, ...kept])]
    .sort((a, b) => a - b)
    .flatMap((version) => model.versions.get(version)?.files ?? []);
}

/** What is told of versions that may not be loaded; the serving process leaves out what it holds. */
export function knownOf(name: string, model: FolderModel): KnownModel[] {
  const wanted = wantedOf(model, []);
  return [...model.versions].map(([version, { problem, files }]): KnownModel => {
    const reason = problem?.message ?? model.error?.message;
    if (reason !== undefined) return { name, version, state: 'UNAVAILABLE', reason };
    if (model.unloaded) return { name, version, state: 'UNAVAILABLE', reason: 'unloaded on request' };
    if (wanted.includes(version))
      return { name, version, state: 'LOADING', reason: 'it is being loaded', soon: files !== undefined };
    return { name, version, state: 'UNAVAILABLE', reason: 'the version policy of model.json leaves it out' };
  });
}
