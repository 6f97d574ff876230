// A disk of its own that a test can fill to the last byte: a file system in memory, where the test may mount one.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Requirement } from './requirements.ts';

export interface SmallDisk {
  readonly path: string;
  /** Leaves no byte free, until somebody gives one back. */
  fill(): void;
  /** Gives back what `fill` took. */
  empty(): void;
  setReadOnly(on: boolean): void;
  remove(): void;
}

/** Whether this test may mount; as a program of `requirements.ts`. Nothing that can be installed gives that right. */
export function mounting(): Requirement {
  const disk = tryMount(1);
  disk?.remove();
  const reason = disk === undefined ? ' (skipped: nothing can be mounted; run the tests as root)' : '';
  return { path: disk?.path, reason };
}

/** At `path`, else in a folder of its own. @throws where nothing can be mounted */
export function smallDisk(megabytes: number, path?: string): SmallDisk {
  const disk = tryMount(megabytes, path);
  if (disk === undefined) throw new Error('nothing can be mounted');
  return disk;
}

function tryMount(megabytes: number, path = mkdtempSync(join(tmpdir(), 'edgeloop-disk-'))): SmallDisk | undefined {
  mkdirSync(path, { recursive: true });
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path], { stdio: 'ignore' });
  } catch {
    rmSync(path, { recursive: true });
    return undefined;
  }
  const filling = join(path, 'filling');
  return {
    path,
    fill() {
      const file = openSync(filling, 'a');
      const block = Buffer.alloc(4096);
      try {
        for (let size = block.length; size > 0; ) size = tryWrite(file, block.subarray(0, size)) ? size : size >> 1;
      } finally {
        closeSync(file);
      }
    },
    empty: () => rmSync(filling, { force: true }),
    setReadOnly: (on) => void execFileSync('mount', ['-o', `remount,${on ? 'ro' : 'rw'}`, path]),
    remove() {
      execFileSync('umount', ['-l', path]);
      rmSync(path, { recursive: true, force: true });
    },
  };
}

function tryWrite(file: number, bytes: Buffer): boolean {
  try {
    return writeSync(file, bytes) === bytes.length;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false;
    throw error;
  }
}
