// That a model file on this disk is still what was verified: its SHA-256 is compared before every load. A file that looks
// as it did then (inode, size, times) is not read again, also not after a restart: what was found is kept beside it. What
// changes without a trace, as on failing flash, is found by `rehash`.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { messageOf } from '@edgeloop/shared/errors';
import { isMissing, readIfPresent, writeDurably } from '@edgeloop/shared/node/durable-files';
import type { Logger } from 'pino';
import { DamagedFile } from './failure.ts';

export interface FileCheck {
  /** @throws DamagedFile when the file does not have this SHA-256 */
  check(path: string, digest: string): Promise<void>;
  /** The same without looking at what was found before. */
  rehash(path: string, digest: string, signal: AbortSignal): Promise<void>;
  /** After a load: that the file is still the one that was checked. @throws DamagedFile */
  confirm(path: string, digest: string): Promise<void>;
}

const pieceBytes = 1024 * 1024;

export function createFileCheck(log: Logger): FileCheck {
  /** Path -> digest and looks of the file when it had it. */
  const verified = new Map<string, string>();

  async function readWhole(path: string, digest: string, signal?: AbortSignal): Promise<void> {
    const before = await looksOf(path);
    const found = await sha256OfFile(path, signal);
    const finding = findingOf(digest, before);
    if (found !== digest || finding !== findingOf(digest, await looksOf(path))) {
      verified.delete(path);
      throw new DamagedFile(`the file ${path} was changed on disk: it does not have the SHA-256 of its release`);
    }
    verified.set(path, finding);
    if ((await readIfPresent(noteOf(path))) === finding) return;
    await writeDurably(noteOf(path), finding).catch((error: unknown) =>
      log.warn(
        { path, reason: messageOf(error) },
        'that a file was verified is not kept; the next start reads it again',
      ),
    );
  }

  return {
    async check(path, digest) {
      const finding = findingOf(digest, await looksOf(path));
      if (verified.get(path) === finding) return;
      if ((await readIfPresent(noteOf(path))) === finding) verified.set(path, finding);
      else await readWhole(path, digest);
    },
    rehash: readWhole,
    async confirm(path, digest) {
      if (verified.get(path) === findingOf(digest, await looksOf(path))) return;
      throw new DamagedFile(`the file ${path} was changed on disk while it was loaded`);
    },
  };
}

/** SHA-256 of a whole file in hex. */
export async function sha256OfFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: pieceBytes, signal })) hash.update(piece);
  return hash.digest('hex');
}

function noteOf(path: string): string {
  return `${path}.verified`;
}

function findingOf(digest: string, looks: string): string {
  return `${digest} ${looks}\n`;
}

async function looksOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return `${ino} ${size} ${mtimeNs} ${ctimeNs}`;
  } catch (error) {
    if (isMissing(error)) throw new DamagedFile(`the file ${path} is not on disk any more`);
    throw error;
  }
}
