// Blobs in a folder, named by their SHA-256: a blob is there whole or not at all, and never changes.
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, open as openFile, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError, parse } from '@edgeloop/shared/errors';
import { Sha256 } from '@edgeloop/shared/identifiers';
import { sha256 } from '@edgeloop/shared/node/digests';
import { isMissing, syncFolder, writeDurably } from '@edgeloop/shared/node/durable-files';

export type Blobs = ReturnType<typeof createFolderBlobs>;

/** Blobs below `dir`, in 256 folders by the first byte of the digest. The folder is made at the first write. */
export function createFolderBlobs(dir: string) {
  const pathOf = (digest: string) => {
    const checked = parse(Sha256, digest, 'digest');
    return join(dir, checked.slice(0, 2), checked);
  };

  async function size(digest: string): Promise<number> {
    try {
      return (await stat(pathOf(digest))).size;
    } catch (error) {
      throw isMissing(error) ? new AppError('not_found', `there is no blob ${digest}`, { cause: error }) : error;
    }
  }

  async function has(digest: string): Promise<boolean> {
    try {
      await stat(pathOf(digest));
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  return {
    /** Stores the bytes and gives their digest; storing them again changes nothing. */
    async put(bytes: Uint8Array): Promise<Sha256> {
      const digest = sha256(bytes);
      if (!(await has(digest))) await writeDurably(pathOf(digest), bytes, 0o600);
      return digest;
    },

    /** Takes the file over: it is gone from `tempPath` afterwards. */
    async putFile(tempPath: string): Promise<{ digest: Sha256; sizeBytes: number }> {
      const { digest, sizeBytes } = await hashAndSync(tempPath);
      const path = pathOf(digest);
      if (await has(digest)) {
        await rm(tempPath, { force: true });
        return { digest, sizeBytes };
      }
      await mkdir(dirname(path), { recursive: true });
      await moveInto(tempPath, path);
      await syncFolder(dirname(path));
      return { digest, sizeBytes };
    },

    /** Bytes `start` to `end`, both included and counted from 0; all when unset. */
    async open(digest: string, range: { start?: number; end?: number } = {}): Promise<Readable> {
      await size(digest);
      return createReadStream(pathOf(digest), range);
    },

    /** @throws AppError `not_found`; `integrity` when the file on disk was damaged */
    async read(digest: string): Promise<Buffer> {
      await size(digest);
      const bytes = await readFile(pathOf(digest));
      if (sha256(bytes) === digest) return bytes;
      throw new AppError('integrity', `blob ${digest} is damaged on disk; restore it from a backup`);
    },

    /** Where the file is, for processes that read it themselves. */
    path: pathOf,
    has,
    size,
  };
}

async function hashAndSync(path: string): Promise<{ digest: Sha256; sizeBytes: number }> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  for await (const chunk of createReadStream(path)) {
    const bytes: Buffer = chunk;
    hash.update(bytes);
    sizeBytes += bytes.length;
  }
  const file = await openFile(path, 'r+');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  return { digest: hash.digest('hex'), sizeBytes };
}

/** A rename, or, from another file system, a copy beside the target and a rename. */
async function moveInto(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EXDEV')) throw error;
    const beside = `${to}.${process.pid}.new`;
    try {
      await pipeline(createReadStream(from), createWriteStream(beside, { flush: true, mode: 0o600 }));
      await rename(beside, to);
    } finally {
      await rm(beside, { force: true });
    }
    await rm(from, { force: true });
  }
}
