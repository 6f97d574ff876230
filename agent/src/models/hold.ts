// "Not now", said by software on the device: for a time over the local port, or for as long as a lock file lies there. It
// outlives a restart of the agent. How long a rollout puts up with it is the rollout's to say.
import { existsSync, readFileSync } from 'node:fs';
import { AppError } from '@edgeloop/shared/errors';
import { Instant } from '@edgeloop/shared/identifiers';
import { z } from 'zod';
import type { HoldRequest, PresentHold } from '../process/ipc.ts';

const reasonLength = 200;
const StoredHold = z.object({ untilMs: Instant, reason: z.string() });

export interface LocalHold {
  /** That of the lock file before that of a caller; undefined when nobody holds. */
  present(): PresentHold | undefined;
  /** Takes the place of the one before. */
  set(request: HoldRequest): void;
  clear(): void;
}

export interface LocalHoldOptions {
  /** Where it is kept over a restart, as JSON. */
  stored: { read(): string | undefined; write(text: string): void };
  lockFile: string;
  /** Wall clock in milliseconds. */
  nowMs(): number;
}

export function createLocalHold({ stored, lockFile, nowMs }: LocalHoldOptions): LocalHold {
  let asked = readStored(stored.read());
  return {
    present() {
      if (existsSync(lockFile)) return { reason: reasonIn(lockFile) };
      return asked !== undefined && asked.untilMs > nowMs() ? asked : undefined;
    },
    set({ seconds, reason }) {
      asked = { reason, untilMs: Math.round(nowMs() + seconds * 1000) };
      stored.write(JSON.stringify(asked));
    },
    clear() {
      if (existsSync(lockFile))
        throw new AppError('conflict', `the lock file ${lockFile} holds, too; whoever made it has to remove it`);
      asked = undefined;
      stored.write('');
    },
  };
}

/** What cannot be read holds nothing back. */
function readStored(text = ''): z.infer<typeof StoredHold> | undefined {
  const found = StoredHold.safeParse(jsonOf(text));
  return found.success ? found.data : undefined;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function reasonIn(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim().slice(0, reasonLength) || `lock file ${path}`;
  } catch {
    return `lock file ${path}`; // It lies there, which is all it has to say.
  }
}
