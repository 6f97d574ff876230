import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { sha256 } from '@edgeloop/shared/node/digests';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createFolderBlobs } from './folder.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'edgeloop-blobs-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it('stores bytes under their hash, once', async () => {
  const blobs = createFolderBlobs(join(dir, 'blobs'));
  const bytes = Buffer.from('some bytes');
  const digest = await blobs.put(bytes);
  expect(digest).toBe(sha256(bytes));
  expect(await blobs.put(bytes)).toBe(digest);
  expect(await blobs.read(digest)).toEqual(bytes);
  expect(await blobs.size(digest)).toBe(10);
  expect(readdirSync(join(dir, 'blobs', digest.slice(0, 2)))).toEqual([digest]);
});

it('takes a file over, also when the blob is there already', async () => {
  const blobs = createFolderBlobs(join(dir, 'blobs'));
  for (const name of ['a', 'b']) {
    writeFileSync(join(dir, name), 'x'.repeat(200_000));
    expect(await blobs.putFile(join(dir, name))).toEqual({ digest: sha256('x'.repeat(200_000)), sizeBytes: 200_000 });
  }
  expect(readdirSync(dir)).toEqual(['blobs']);
});

it('reads a range, both ends included', async () => {
  const blobs = createFolderBlobs(dir);
  const digest = await blobs.put(Buffer.from('0123456789'));
  expect((await buffer(await blobs.open(digest, { start: 2, end: 4 }))).toString()).toBe('234');
  expect((await buffer(await blobs.open(digest))).toString()).toBe('0123456789');
});

it('says what is missing, what is no digest, and what was damaged', async () => {
  const blobs = createFolderBlobs(dir);
  expect(await blobs.has(sha256('nothing'))).toBe(false);
  await expect(blobs.open(sha256('nothing'))).rejects.toMatchObject({ code: 'not_found' });
  await expect(blobs.has('../../etc/passwd')).rejects.toMatchObject({ code: 'invalid_request' });
  const digest = await blobs.put(Buffer.from('whole'));
  writeFileSync(blobs.path(digest), 'other');
  await expect(blobs.read(digest)).rejects.toMatchObject({ code: 'integrity' });
});
