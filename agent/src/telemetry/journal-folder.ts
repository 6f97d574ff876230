// Where the journal lies. It has to outlive the death of a process, not that of the machine: in memory it costs the disk nothing, and
// a card lives for years longer. After a power cut the window that was open is short, and says so; so it is when a container with a
// memory of its own ends, which is why the disk is the rule.
import { createHash, randomUUID } from 'node:crypto';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '@edgeloop/shared/errors';
import { readIfPresentSync, writeDurablySync } from '@edgeloop/shared/node/durable-files';
import type { Logger } from 'pino';
import { isMemory, memoryFolder } from '../storage/memory.ts';

/** A window may grow to half of it before it is closed. */
const leastFreeBytes = 48 * 1024 * 1024;

export interface JournalPlace {
  folder: string;
  inMemory: boolean;
}

/** `memory`: where the system has some to give. What lies on the disk from before is taken along. */
export function journalPlace(dataDir: string, wanted: 'disk' | 'memory', log: Logger): JournalPlace {
  const onDisk = { folder: join(dataDir, 'journal'), inMemory: false };
  if (wanted === 'disk' || !isMemory(memoryFolder, leastFreeBytes)) return onDisk;
  try {
    const folder = join(memoryFolder, `edgeloop-${nameOf(onDisk.folder)}`);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    moveAll(onDisk.folder, folder);
    return { folder, inMemory: true };
  } catch (error) {
    log.warn({ reason: messageOf(error) }, 'the journal is kept on the disk');
    return onDisk;
  }
}

/** Tells one start of the machine from another; undefined where the system does not say. */
export function bootId(): string | undefined {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  } catch {
    return undefined; // Then nobody can tell whether what was in memory is gone.
  }
}

/** What could not be folded stays for the next start. */
export function removeIfEmpty(folder: string): void {
  if (readdirSync(folder).length === 0) rmdirSync(folder);
}

/** Of this data folder in this place: a copy of it, or another one that is made here later, has another. */
function nameOf(folder: string): string {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, 'name');
  const known = readIfPresentSync(path);
  const name = known ?? randomUUID();
  if (known === undefined) writeDurablySync(path, name, 0o600);
  return createHash('sha256')
    .update(`${name} ${realpathSync(folder)}`)
    .digest('hex')
    .slice(0, 32);
}

function moveAll(from: string, to: string): void {
  for (const name of readdirSync(from).filter((each) => each.endsWith('.journal'))) {
    copyFileSync(join(from, name), join(to, name));
    rmSync(join(from, name));
  }
}
