// How many answered requests the journal lacks, in a small file that got its room on the disk when there was some: it is
// overwritten in place, so that it can be written when the disk is full, and outlives a kill of either process in the page
// cache. One half is the serving process's word about its own life, the other the supervisor's sum of all lives.
import { randomInt } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { isMissing } from '@edgeloop/shared/node/durable-files';
import { isStorageRefusal } from '../storage/refusal.ts';

/** What one serving process has answered and not journalled. */
export interface Missing {
  /** Tells one process from another. */
  life: number;
  /** Number of the journal file that it appends to, 0 while it has none. */
  file: number;
  /** Its size without what is missing: records that lie behind it are not missing any more. */
  sizeBytes: number;
  /** Records in memory: lost if the process dies now. */
  pending: number;
  /** Records given up. */
  lost: number;
}

/** What all processes together have lost. */
export interface LostSum {
  /** Ever, in this data folder. */
  total: number;
  /** Of these, how many are in the outbox or were; the database knows better, where there is one. */
  told: number;
  /** Of the process whose losses were added last, and how many of them. */
  life: number;
  ofLife: number;
}

const fileBytes = 4096;
const missingAt = 0;
const sumAt = 2048;
const numberBytes = 8;

/** A number that no other process has. */
export const newLife = (): number => randomInt(1, 2 ** 48 - 1);

/** Makes the file, with its room, where there is none. @throws when the disk refuses */
export function makeMissingNote(path: string): void {
  const file = openSync(path, 'a+', 0o600);
  try {
    if (fstatSync(file).size >= fileBytes) return;
    writeSync(file, Buffer.alloc(fileBytes));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Whether it could be written; without room for it from before, a full disk takes nothing. */
export function writeMissing(path: string, { life, file, sizeBytes, pending, lost }: Missing): boolean {
  return write(path, [life, file, sizeBytes, pending, lost], missingAt);
}

/** As `writeMissing`. */
export function writeLostSum(path: string, { total, told, life, ofLife }: LostSum): boolean {
  return write(path, [total, told, life, ofLife], sumAt);
}

/** Undefined when there is none, or it is damaged. */
export function readMissing(path: string): Missing | undefined {
  const [life, file, sizeBytes, pending, lost] = read(path, 5, missingAt) ?? [];
  if (life === undefined || file === undefined || sizeBytes === undefined) return undefined;
  return pending === undefined || lost === undefined ? undefined : { life, file, sizeBytes, pending, lost };
}

/** As `readMissing`. */
export function readLostSum(path: string): LostSum | undefined {
  const [total, told, life, ofLife] = read(path, 4, sumAt) ?? [];
  if (total === undefined || told === undefined) return undefined;
  return life === undefined || ofLife === undefined ? undefined : { total, told, life, ofLife };
}

/** The numbers as 64-bit floats, then their CRC-32. */
function write(path: string, numbers: readonly number[], at: number): boolean {
  const bytes = Buffer.alloc(numbers.length * numberBytes + 4);
  for (const [place, number] of numbers.entries()) bytes.writeDoubleLE(number, place * numberBytes);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.length - 4);
  try {
    const file = openSync(path, 'r+');
    try {
      return writeSync(file, bytes, 0, bytes.length, at) === bytes.length;
    } finally {
      closeSync(file);
    }
  } catch (error) {
    if (isStorageRefusal(error) || isMissing(error)) return false;
    throw error;
  }
}

function read(path: string, count: number, at: number): number[] | undefined {
  const bytes = bytesOf(path).subarray(at, at + count * numberBytes + 4);
  if (bytes.length < count * numberBytes + 4) return undefined;
  if (crc32(bytes.subarray(0, -4)) !== bytes.readUInt32LE(bytes.length - 4)) return undefined;
  const numbers = Array.from({ length: count }, (_, place) => bytes.readDoubleLE(place * numberBytes));
  return numbers.every((number) => Number.isSafeInteger(number) && number >= 0) ? numbers : undefined;
}

function bytesOf(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    if (isStorageRefusal(error) || isMissing(error)) return Buffer.alloc(0);
    throw error;
  }
}
