// What the serving process is to hold of each model, and that it does: what cannot be loaded is told, or tried again.
import { messageOf } from '@edgeloop/shared/errors';
import { backoffMs, pause } from '@edgeloop/shared/node/backoff';
import type { Logger } from 'pino';
import { DamagedFile, isModelsDoing } from '../failure.ts';
import type { HeldByAll } from '../held-by-all.ts';
import { isAboutModel, type Plan, type WantedVersion } from '../held-versions.ts';
import type { VersionFailure } from '../round.ts';
import type { ReleaseRef } from '../store.ts';
import type { FilesOnDisk } from './files-on-disk.ts';
import { isOnTrial, type ModelState, releasesToHold } from './model-state.ts';

export interface ServedOptions {
  held: HeldByAll;
  files: Pick<FilesOnDisk, 'read' | 'confirm'>;
  stateOf(name: string): ModelState;
  onDamaged(of: ReleaseRef, error: DamagedFile): void;
  /** Whether a death was laid to this file. */
  isSuspected(digest: string): boolean;
  /** What answers cannot be loaded, and that is its own doing. */
  onLost(name: string, error: unknown): void;
  log: Logger;
}

/** Of what stands between a model and its callers. */
const retry = { firstMs: 200, mostMs: 10_000 };

export class Served {
  readonly #options: ServedOptions;
  /** How often in a row what is planned could not be served, for reasons that may pass. */
  readonly #hindered = new Map<string, number>();
  /** Of those, what is looked at again in a while. */
  readonly #waiting = new Set<string>();
  #stop = AbortSignal.abort();

  constructor(options: ServedOptions) {
    this.#options = options;
  }

  start(signal: AbortSignal): void {
    this.#stop = signal;
  }

  /** Resolves when all that can be is loaded in this process. @throws ServingGone */
  async alignAll(process: number, names: readonly string[]): Promise<void> {
    await this.#options.held.alignAll(
      process,
      names,
      (name) => this.#planOf(name),
      (name, failed) => this.#aligned(name, failed),
    );
  }

  #planOf(name: string): Plan {
    const state = this.#options.stateOf(name);
    const hold = releasesToHold(state);
    // What answers is loaded last, and answers as soon as it is there; until then what it would fall back to does.
    return {
      hold: hold.map((each) => this.wanted({ name, ...each })),
      answers: hold.map(({ version }) => version).reverse(),
    };
  }

  /** What one would fall back to may fail to load without harm to what answers. */
  wanted(of: ReleaseRef): WantedVersion {
    const state = this.#options.stateOf(of.name);
    const { version, release } = of;
    const onTrial = isOnTrial(state, release);
    return {
      version,
      release,
      identity: identityOf(release, onTrial),
      needed: state.active?.release === release,
      files: async () => {
        const read = await this.#options.files.read(of);
        const files = { ...read, suspected: this.#options.isSuspected(read.digest ?? '') };
        if (!onTrial) return files;
        const manifest = { ...files.manifest, isolation: 'process' as const };
        return { ...files, manifest, onTrial: state.lastGood !== null };
      },
      confirm: (files) => this.#options.files.confirm(files),
    };
  }

  async align(name: string): Promise<void> {
    try {
      this.#aligned(name, await this.#options.held.align(name, () => this.#planOf(name)));
    } catch (error) {
      // Without a process there is nothing to align: the next one is brought to all that is planned.
      if (isAboutModel(error)) this.#options.log.error({ err: error, model: name }, 'a model could not be changed');
    }
  }

  #aligned(name: string, failed: readonly VersionFailure[]): void {
    const { stateOf, onDamaged, onLost, log } = this.#options;
    let hindered = false;
    for (const { version, release = '', error } of failed) {
      const about = { model: name, version, reason: messageOf(error) };
      if (error instanceof DamagedFile) onDamaged({ name, version, release }, error);
      else if (!isModelsDoing(error)) {
        hindered = true;
        log.warn(about, 'a version cannot be loaded at present; it is tried again');
      } else if (release === stateOf(name).active?.release) onLost(name, error);
      else log.warn(about, 'the version to fall back to is not loaded');
    }
    if (hindered) void this.#alignLater(name);
    else this.#hindered.delete(name);
  }

  /** What kept it from being loaded was no model's doing, and passes. */
  async #alignLater(name: string): Promise<void> {
    if (this.#waiting.has(name)) return;
    const failures = (this.#hindered.get(name) ?? 0) + 1;
    this.#hindered.set(name, failures);
    this.#waiting.add(name);
    const goesOn = await pause(backoffMs(failures, retry), this.#stop);
    this.#waiting.delete(name);
    if (goesOn) await this.align(name);
  }
}

/** What the serving process is to hold, and where. */
export function holdingOf(state: ModelState): string {
  return releasesToHold(state)
    .map(({ version, release }) => `${version} ${identityOf(release, isOnTrial(state, release))}`)
    .join();
}

function identityOf(release: string, onTrial: boolean): string {
  return `${release} ${onTrial ? 'on trial' : 'in its place'}`;
}
