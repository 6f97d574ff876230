// Some room on the disk that is given back when the disk is full, so that the few bytes of state that matter can still be
// written; it is taken again when there is room.
import { closeSync, fsyncSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { isStorageRefusal } from './refusal.ts';

const reserveBytes = 512 * 1024;
/** The reserve is no reason for the disk to be full. */
const timesFree = 4;

export interface Reserve {
  /** Takes it where there is room enough and it is not held; whether it is. */
  make(): boolean;
  /** Gives it back; false when there was none. */
  release(): boolean;
}

export function createReserve(path: string): Reserve {
  return {
    make() {
      try {
        if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) >= reserveBytes) return true;
        if ((freeBytes(dirname(path)) ?? 0) < timesFree * reserveBytes) return false;
        const file = openSync(path, 'w', 0o600);
        try {
          writeSync(file, Buffer.alloc(reserveBytes));
          fsyncSync(file);
        } finally {
          closeSync(file);
        }
        return true;
      } catch (error) {
        // Nothing that is needed was lost; what needs the room will say so.
        if (!isStorageRefusal(error)) throw error;
        rmSync(path, { force: true });
        return false;
      }
    },
    release() {
      try {
        if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return false;
        rmSync(path);
        return true;
      } catch (error) {
        if (!isStorageRefusal(error)) throw error;
        return false;
      }
    },
  };
}

/** What a program without privileges may still write there; undefined where the system does not say. */
export function freeBytes(folder: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return undefined; // Only a figure for people, or a reason not to take a reserve.
  }
}
