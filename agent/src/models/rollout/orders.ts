// Which order of the control plane this device follows: the newest that it has ever seen, also over a restart.
import type { Desired } from '@edgeloop/shared/messages';
import type { Logger } from 'pino';
import { readCount, writeFact } from '../../database/facts.ts';
import type { DeviceDatabase } from '../../database/open.ts';
import type { PendingWrites } from '../../storage/pending-writes.ts';

export interface OrdersOptions {
  database: DeviceDatabase;
  writes: PendingWrites;
  log: Logger;
}

export class Orders {
  readonly #options: OrdersOptions;
  #generation: number;

  constructor(options: OrdersOptions) {
    this.#options = options;
    this.#generation = readCount(options.database, 'desired');
  }

  get generation(): number {
    return this.#generation;
  }

  /** Whether it is to be followed. One of a restored control plane, which is older, is shown there as conflicting. */
  take({ generation }: Pick<Desired, 'generation'>): boolean {
    const { database, writes, log } = this.#options;
    if (generation < this.#generation) {
      log.warn({ generation, known: this.#generation }, 'what is desired is older than what was already seen');
      return false;
    }
    if (generation > this.#generation) {
      this.#generation = generation;
      writes.write('desired', () => writeFact(database, 'desired', generation));
    }
    return true;
  }
}
