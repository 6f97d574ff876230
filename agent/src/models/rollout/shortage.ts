// Whether this machine is short of what a version that answers nobody must not take: memory and disk.
import { freemem, totalmem } from 'node:os';
import { freeBytes } from '../../storage/reserve.ts';

export interface Machine {
  freeMemoryBytes(): number;
  totalMemoryBytes: number;
  /** Undefined where the system does not say. */
  freeDiskBytes(): number | undefined;
}

const megabyte = 1024 * 1024;
const least = { memoryBytes: 64 * megabyte, memoryShare: 0.03, diskBytes: 64 * megabyte };
/** What was short must be there so many times, so that it does not come and go. */
const timesToResume = 2;

export function machineOf(folder: string): Machine {
  return {
    freeMemoryBytes: freemem,
    totalMemoryBytes: totalmem(),
    freeDiskBytes: () => freeBytes(folder),
  };
}

/** Asked again and again: what is short now, for people; undefined when nothing is. */
export function createShortage({
  freeMemoryBytes,
  totalMemoryBytes,
  freeDiskBytes,
}: Machine): () => string | undefined {
  let wasShort = false;
  const leastMemory = Math.max(least.memoryBytes, least.memoryShare * totalMemoryBytes);
  const shortOf = (): string | undefined => {
    const times = wasShort ? timesToResume : 1;
    const memory = freeMemoryBytes();
    if (memory < leastMemory * times) return `the device is short of memory: ${inMegabytes(memory)} are free`;
    const disk = freeDiskBytes();
    if (disk !== undefined && disk < least.diskBytes * times)
      return `the device is short of disk: ${inMegabytes(disk)} are free`;
    return undefined;
  };
  return () => {
    const short = shortOf();
    wasShort = short !== undefined;
    return short;
  };
}

function inMegabytes(bytes: number): string {
  return `${Math.floor(bytes / megabyte)} MB`;
}
