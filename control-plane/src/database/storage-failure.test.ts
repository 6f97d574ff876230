import { AppError } from '@edgeloop/shared/errors';
import { DrizzleQueryError } from 'drizzle-orm';
import { expect, it } from 'vitest';
import { isStorageFailure, storageFailure } from './storage-failure.ts';

const coded = (code: string, message = 'failed') => Object.assign(new Error(message), { code });

it.each([
  ['ENOSPC', /no space left/],
  ['SQLITE_FULL', /no space left/],
  ['SQLITE_IOERR_SHMSIZE', /no space left/],
  ['53100', /no space left/],
  ['EDQUOT', /quota/],
  ['EROFS', /read-only/],
  ['SQLITE_READONLY', /read-only/],
  ['SQLITE_READONLY_DBMOVED', /read-only/],
  ['25006', /read-only/],
  ['EIO', /fails to read or write/],
  ['SQLITE_IOERR_WRITE', /fails to read or write/],
  ['58030', /fails to read or write/],
])('tells %s as a want of storage', (code, words) => {
  const failure = storageFailure(new DrizzleQueryError('insert', [], coded(code)));
  expect(failure).toMatchObject({ code: 'insufficient_storage', message: expect.stringMatching(words) });
});

it.each(['SQLITE_CORRUPT', 'SQLITE_CORRUPT_INDEX', 'SQLITE_NOTADB', 'XX001'])('tells %s as a damage', (code) => {
  expect(storageFailure(coded(code))).toMatchObject({ code: 'internal', message: expect.stringContaining('damaged') });
});

it('understands those who tell in words only', () => {
  const words = 'IO Error: Could not write file "x.parquet": No space left on device';
  expect(storageFailure(new Error(words))).toMatchObject({ code: 'insufficient_storage' });
});

it('leaves alone what has another reason', () => {
  for (const error of [coded('ECONNRESET'), coded('SQLITE_CONSTRAINT'), coded('23505'), 'text', undefined])
    expect(storageFailure(error)).toBeUndefined();
  expect(isStorageFailure(new AppError('conflict', 'taken'))).toBe(false);
  expect(isStorageFailure(new AppError('insufficient_storage', 'full'))).toBe(true);
});
