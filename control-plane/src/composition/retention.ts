// Lets old rows go, table by table, a few at a time: nobody waits for it, and a full disk does not come unseen.
import { pause } from '@edgeloop/shared/node/backoff';
import type { Logger } from 'pino';
import { Counter, type Registry } from 'prom-client';
import type { Keeper } from '../database/expire.ts';
import type { Database } from '../database/open.ts';

interface RetentionDeps {
  database: Pick<Database, 'writable'>;
  keepers: readonly Keeper[];
  metrics: Registry;
  log: Logger;
  everyMs?: number;
}

const rowsAtOnce = 500;
/** Between two deletions others write. */
const breathMs = 25;

export function createRetention({ database, keepers, metrics, log, everyMs = 300_000 }: RetentionDeps) {
  const deleted = new Counter({
    name: 'edgeloop_expired_rows_total',
    help: 'Rows that were let go of because they were older than they are kept, or too many',
    labelNames: ['table'],
    registers: [metrics],
  });
  const stopping = new AbortController();
  let running: Promise<void> = Promise.resolve();
  return {
    start(): void {
      running = run(stopping.signal);
    },
    async close(): Promise<void> {
      stopping.abort();
      await running;
    },
  };

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await database.writable(signal);
      for (const keeper of keepers) await expire(keeper, signal);
      await pause(everyMs, signal);
    }
  }

  async function expire(keeper: Keeper, signal: AbortSignal): Promise<void> {
    let rows = 0;
    try {
      for (let gone = rowsAtOnce; gone >= rowsAtOnce && !signal.aborted; ) {
        gone = await keeper.expire(rowsAtOnce);
        rows += gone;
        deleted.inc({ table: keeper.table }, gone);
        await pause(breathMs, signal);
      }
      if (rows > 0) log.info({ table: keeper.table, rows }, 'old rows were let go of');
    } catch (err) {
      log.warn({ err, table: keeper.table }, 'old rows could not be let go of; trying again');
    }
  }
}
