// Writes that a device can do without for a while: done at once where the disk takes them, otherwise kept in memory and
// tried again until it does. What they say holds in memory meanwhile, so nothing that serves waits for a disk.
import { messageOf } from '@edgeloop/shared/errors';
import type { Logger } from 'pino';
import type { Problems } from '../problems.ts';
import { isFull, isStorageRefusal } from './refusal.ts';
import { freeBytes, type Reserve } from './reserve.ts';

export interface PendingWritesOptions {
  /** Where it is written; for its words. */
  folder: string;
  reserve: Reserve;
  problems: Problems;
  log: Logger;
  retryMs?: number;
}

export class PendingWrites {
  readonly #options: PendingWritesOptions;
  /** In the order in which they were asked for. */
  readonly #pending = new Map<string, () => void>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PendingWritesOptions) {
    this.#options = options;
  }

  /**
   * Does `work` now, or when the disk takes it; of one key only the newest is done. What it throws for another reason than
   * the disk is thrown. Whether it is done.
   */
  write(key: string, work: () => void): boolean {
    this.#pending.delete(key);
    if (this.#tries(work)) return true;
    this.#pending.set(key, work);
    this.#tryLater();
    return false;
  }

  /** Does what waits, as far as the disk takes it. */
  retry(): void {
    for (const [key, work] of this.#pending) {
      try {
        if (!this.#tries(work)) return;
      } catch (error) {
        this.#options.log.error({ err: error, key }, 'a write that had waited is given up');
      }
      this.#pending.delete(key);
    }
    this.#settled();
  }

  /** Tries what waits for the last time; what the disk does not take now is lost, and said to be. */
  close(): void {
    this.retry();
    clearInterval(this.#timer);
    if (this.#pending.size > 0)
      this.#options.log.error({ lost: [...this.#pending.keys()] }, 'the disk did not take what waited for it');
  }

  #tryLater(): void {
    this.#timer ??= setInterval(() => this.retry(), this.#options.retryMs ?? 2000).unref();
  }

  #settled(): void {
    this.#options.problems.clear('storage');
    if (!this.#options.reserve.make()) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #tries(work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      if (!isStorageRefusal(error)) throw error;
      if (isFull(error) && this.#options.reserve.release()) {
        this.#tryLater(); // To take the reserve again.
        return this.#tries(work);
      }
      this.#options.problems.set('storage', this.#wordsFor(error));
      return false;
    }
  }

  #wordsFor(error: Error): string {
    const { folder } = this.#options;
    const free = freeBytes(folder);
    const figure = free === undefined ? '' : `, ${free} bytes are free`;
    const advice = isFull(error) ? 'free some room there' : 'make it writable';
    return `the agent cannot write to ${folder} (${messageOf(error)}${figure}) and keeps its state in memory: ${advice}`;
  }
}
