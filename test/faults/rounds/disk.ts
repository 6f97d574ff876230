// Small disks of their own for the programs, so that one can be full while the machine is not. They need the right to mount.
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

export interface Disk {
  /** Leaves no byte free. */
  fill(): void;
  /** Gives the room back. */
  free(): void;
  unmount(): void;
}

/** Mounts `megabytes` of memory at `path`. Throws where that is not permitted. */
export function mountDisk(path: string, megabytes: number): Disk {
  mkdirSync(path, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'edgeloop-faults', path], { stdio: 'pipe' });
  const filler = join(path, 'filler');
  return {
    fill: () => fillWith(filler),
    free: () => rmSync(filler, { force: true }),
    // Lazily: what still holds a file of it must not keep the others from going.
    unmount: () => void execFileSync('umount', ['-l', path], { stdio: 'pipe' }),
  };
}

/** Why disks cannot be mounted here, or undefined. */
export function whyNoDisks(path: string): string | undefined {
  try {
    mountDisk(path, 1).unmount();
    return undefined;
  } catch (error) {
    return `small disks cannot be mounted here (${String(error).split('\n')[0]})`;
  }
}

function fillWith(path: string): void {
  const file = openSync(path, 'a');
  try {
    for (let size = 1024 * 1024; size > 0; size = Math.floor(size / 2)) while (takes(file, size));
  } finally {
    closeSync(file);
  }
}

function takes(file: number, size: number): boolean {
  try {
    return writeSync(file, Buffer.alloc(size)) > 0;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return false;
    throw error;
  }
}
