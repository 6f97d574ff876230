// The releases on this disk, as far as they are to be trusted: checked before every load, looked at again whole in the
// background, and fetched again when they were changed.
import { messageOf } from '@edgeloop/shared/errors';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import type { ModelFiles, Tuning } from '../../process/ipc.ts';
import { DamagedFile } from '../failure.ts';
import type { FileCheck } from '../file-check.ts';
import type { ModelStore, ReleaseRef } from '../store.ts';
import { type FetchSource, fetchModel, verifyModel } from './fetch.ts';

export interface FilesOnDiskOptions {
  store: ModelStore;
  fileCheck: FileCheck;
  tuningOf(digest: string): Tuning | undefined;
  source(): Omit<FetchSource, 'store'>;
  /** Releases of a model that must stay on disk. */
  keep(name: string): string[];
  onDamaged(of: ReleaseRef, error: DamagedFile): void;
  onRepaired(of: ReleaseRef): void;
  log: Logger;
}

const retry = { firstMs: 1000, mostMs: 60_000 };

export class FilesOnDisk {
  readonly #options: FilesOnDiskOptions;
  readonly #rechecks = createTurn();
  /** Releases that were read whole since this agent started. */
  readonly #rechecked = new Set<string>();
  readonly #repairs = new Map<string, Promise<void>>();

  constructor(options: FilesOnDiskOptions) {
    this.#options = options;
  }

  /** What the serving process is to load, or a variant that is only tried. @throws DamagedFile when it is not what was verified */
  async read(of: ReleaseRef, variant?: string): Promise<ModelFiles> {
    const { store, fileCheck, tuningOf } = this.#options;
    const files = await store.modelFiles(of, variant);
    if (files.digest === undefined) return files;
    await fileCheck.check(files.path, files.digest);
    const tuning = tuningOf(files.digest);
    return tuning === undefined ? files : { ...files, tuning };
  }

  /** After a load. @throws DamagedFile when other bytes may have been loaded than were checked */
  async confirm({ path, digest }: ModelFiles): Promise<void> {
    if (digest !== undefined) await this.#options.fileCheck.confirm(path, digest);
  }

  /** Reads releases whole, one after the other, each once. */
  recheck(of: readonly ReleaseRef[], signal: AbortSignal): void {
    for (const each of of) void this.#rechecks.run(() => this.#recheck(each, signal));
  }

  /** Fetches what was good before, until it is whole again or need not be kept any more. */
  repair(of: ReleaseRef, signal: AbortSignal): void {
    if (this.#repairs.has(of.release)) return;
    const repair = this.#repair(of, signal).finally(() => this.#repairs.delete(of.release));
    this.#repairs.set(of.release, repair);
  }

  async close(): Promise<void> {
    await Promise.all([this.#rechecks.idle(), ...this.#repairs.values()]);
  }

  async #recheck(of: ReleaseRef, signal: AbortSignal): Promise<void> {
    const { store, fileCheck, log, onDamaged } = this.#options;
    if (signal.aborted || this.#rechecked.has(of.release)) return;
    this.#rechecked.add(of.release);
    try {
      const { path, digest } = await store.modelFiles(of);
      if (digest !== undefined) await fileCheck.rehash(path, digest, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof DamagedFile) onDamaged(of, error);
      else
        log.warn({ model: of.name, version: of.version, reason: messageOf(error) }, 'a file could not be read again');
    }
  }

  async #repair(of: ReleaseRef, signal: AbortSignal): Promise<void> {
    const { store, source, keep, log, onRepaired } = this.#options;
    const { name, version } = of;
    for (let failures = 1; !signal.aborted && keep(name).includes(of.release); failures += 1) {
      try {
        await fetchModel({ ...source(), store }, of, { keep: keep(name), signal });
        await verifyModel({ ...source(), store }, of, signal);
        log.info({ model: name, version }, 'the damaged files are repaired');
        return onRepaired(of);
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ model: name, version, reason: messageOf(error) }, 'fetching damaged files again is delayed');
      }
      await pause(backoffMs(failures, retry), signal);
    }
  }
}
