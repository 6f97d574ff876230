// Sends the spans of rollouts on their way, apart from the looks that decide: of devices as they have taken the version up, of the
// rollout and its waves when it is over. Which rollouts are over and not sent is stored, so that a restart loses none.

import type { Rollout } from '@edgeloop/shared/api/rollouts';
import { createTurn } from '@edgeloop/shared/node/turn';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import type { RolloutStore } from './rollout-store.ts';
import { deviceSpans, rolloutSpans, type Span, type TracedMember } from './trace-spans.ts';

export interface TracingDeps {
  database: Database;
  store: RolloutStore;
  /** Resolves when there is room for more; whether they arrive is the exporter's. */
  send: (spans: readonly Span[]) => Promise<void>;
  now: () => number;
  log: Logger;
}

export type Tracing = ReturnType<typeof createTracing>;

/** Sent at once. */
const batch = 500;

export function createTracing({ database, store, send, now, log }: TracingDeps) {
  const turn = createTurn();
  let isClosed = false;

  function soon(work: () => Promise<void>): void {
    turn.run(work).catch((err: unknown) => log.error({ err }, 'spans of a rollout could not be sent'));
  }

  async function sendAll(spans: readonly Span[]): Promise<void> {
    for (let from = 0; from < spans.length && !isClosed; from += batch) await send(spans.slice(from, from + batch));
  }

  async function sendEnded(): Promise<void> {
    if (isClosed) return;
    for (const rollout of await store.untraced(database.read)) {
      const { id } = rollout;
      const members = await store.members(database.read, id);
      const waves = await store.waves(database.read, id);
      const history = await store.history(database.read, id);
      await sendAll(rolloutSpans(rollout, { waves, history, members }));
      if (isClosed) return;
      await database.transact((tx) => store.traced(tx, id, now()));
    }
  }

  return {
    /** That devices have taken the version up, or failed to. */
    activated(rollout: Rollout, members: readonly TracedMember[]): void {
      if (members.length > 0) soon(() => sendAll(members.flatMap((member) => deviceSpans(rollout, member))));
    },

    /** That a rollout may be over. Cheap to call often. */
    wake: (): void => soon(sendEnded),

    /** Sends no more; resolves when what was being sent is. */
    async close(): Promise<void> {
      isClosed = true;
      await turn.idle();
    },
  };
}
