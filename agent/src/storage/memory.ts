// Memory that has names like files and outlives a process, where the system gives some.
import { statfsSync } from 'node:fs';

export const memoryFolder = '/dev/shm';
const tmpfs = 0x01021994;

/** Whether what lies in `folder` costs no disk, and so many bytes have room there. */
export function isMemory(folder: string, leastFreeBytes: number): boolean {
  try {
    const { type, bavail, bsize } = statfsSync(folder);
    return type === tmpfs && bavail * bsize >= leastFreeBytes;
  } catch {
    return false; // Other systems have none.
  }
}
