// What devices said and nobody understood: counted, and the last few of each device kept for a look. A device may send as much of
// it as it likes: it is gathered in bounded memory, written down now and then over what is there, and logged once in a while.
import type { MalformedMessages } from '@edgeloop/shared/api/devices';
import type { Logger } from 'pino';
import type { Database } from '../database/open.ts';
import { type Arrived, createQuarantineStore } from './quarantine-store.ts';
import { createThrottle } from './throttle.ts';

export interface NotUnderstood {
  deviceId: string;
  channel: string;
  payload: Uint8Array;
  reason: string;
}

interface QuarantineDeps {
  database: Database;
  now: () => number;
  log: Logger;
  writeEveryMs?: number;
  logEveryMs?: number;
}

/** Held of a device until they are written down. */
const mostHeld = 3;
const headBytes = 200;
const reasonLength = 300;

export function createQuarantine({ database, now, log, writeEveryMs = 5000, logEveryMs = 60_000 }: QuarantineDeps) {
  const store = createQuarantineStore(database);
  let arrived = new Map<string, Arrived>();
  /** Not logged yet. */
  const unsaid = new Map<string, number>();
  const said = createThrottle(logEveryMs, (deviceId) => say(deviceId));
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();

  return {
    /** Never waits and never throws. */
    note({ deviceId, channel, payload, reason }: NotUnderstood): void {
      const { count, latest } = arrived.get(deviceId) ?? { count: 0, latest: [] };
      const entry = {
        ...{ at: now(), channel, reason: reason.slice(0, reasonLength), bytes: payload.length },
        // A copy, since a slice would keep the whole message.
        head: Buffer.from(payload.subarray(0, headBytes)),
      };
      arrived.set(deviceId, { count: count + 1, latest: [...latest, entry].slice(-mostHeld) });
      unsaid.set(deviceId, (unsaid.get(deviceId) ?? 0) + 1);
      said.call(deviceId);
      timer ??= setTimeout(() => void flush(), writeEveryMs).unref();
    },

    /** How many came of a device, and the last of them, the newest first. */
    async of(deviceId: string): Promise<MalformedMessages> {
      const rows = await store.of(deviceId);
      return {
        count: rows[0]?.number ?? 0,
        items: rows.map(({ at, channel, reason, bytes, head }) => ({ at, channel, reason, bytes, head: asText(head) })),
      };
    },

    flush,

    async close(): Promise<void> {
      said.close();
      await flush();
    },
  };

  function say(deviceId: string): void {
    const count = unsaid.get(deviceId);
    unsaid.delete(deviceId);
    const last = arrived.get(deviceId)?.latest.at(-1);
    log.warn(
      { deviceId, count, channel: last?.channel, reason: last?.reason },
      'messages of a device were not understood',
    );
  }

  function flush(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    writing = writing.then(write);
    return writing;
  }

  async function write(): Promise<void> {
    const taken = arrived;
    if (taken.size === 0) return;
    arrived = new Map();
    try {
      await database.transact((tx) => store.add(tx, taken));
    } catch (error) {
      log.warn({ err: error }, 'what was not understood could not be written down; it is tried again');
      // Written down with what comes next.
      for (const [deviceId, { count, latest }] of taken) {
        const since = arrived.get(deviceId);
        const both = [...latest, ...(since?.latest ?? [])].slice(-mostHeld);
        arrived.set(deviceId, { count: count + (since?.count ?? 0), latest: both });
      }
    }
  }
}

/** Bytes for people: what is no plain character stands as its number. */
function asText(head: Uint8Array): string {
  return [...head]
    .map((byte) =>
      byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`,
    )
    .join('');
}
