// What it means when bytes cannot be kept: one table from the codes of the kernel, SQLite and PostgreSQL to words for
// people. Reads go on; the write was not made and may be sent again once there is room.
import { AppError, type ErrorCode } from '@edgeloop/shared/errors';

interface Kind {
  code: ErrorCode;
  matches: RegExp;
  message: string;
}

const again = 'nothing was changed and reads go on';
const kinds: readonly Kind[] = [
  {
    code: 'insufficient_storage',
    matches: /^(ENOSPC|SQLITE_FULL|SQLITE_IOERR_SHMSIZE|53100|no space left on device)$/,
    message: `no space left on the server’s disk: ${again}; free some space, then send it again`,
  },
  {
    code: 'insufficient_storage',
    matches: /^(EDQUOT|disk quota exceeded)$/,
    message: `the server’s disk quota is used up: ${again}; free some space or raise the quota, then send it again`,
  },
  {
    code: 'insufficient_storage',
    matches: /^(EROFS|SQLITE_READONLY(_\w+)?|25006|read-only file system)$/,
    message: `the server’s storage is read-only: ${again}; mount it for writing, then send it again`,
  },
  {
    code: 'insufficient_storage',
    matches: /^(EIO|SQLITE_IOERR(_\w+)?|58030|input\/output error)$/,
    message: 'the server’s disk fails to read or write: look into the system’s log, and mind the backup',
  },
  {
    code: 'internal',
    matches: /^(SQLITE_CORRUPT(_\w+)?|SQLITE_NOTADB|XX001|XX002)$/,
    message: 'the server’s database is damaged: stop the server, and restore the database from a backup',
  },
];

/** Child processes and DuckDB tell in words only. */
const inWords = /no space left on device|disk quota exceeded|read-only file system|input\/output error/i;

/** The failure as an AppError that says what happened and what to do; undefined when it has another reason. */
export function storageFailure(error: unknown): AppError | undefined {
  for (let each = error; each instanceof Error; each = each.cause) {
    const names = ['code' in each ? String(each.code) : '', inWords.exec(each.message)?.[0].toLowerCase() ?? ''];
    const kind = kinds.find(({ matches }) => names.some((name) => matches.test(name)));
    if (kind !== undefined) return new AppError(kind.code, kind.message, { cause: error });
  }
  return undefined;
}

/** Whether it is a write that could not be made for want of storage, as `storageFailure` names it. */
export function isStorageFailure(error: unknown): boolean {
  return error instanceof AppError ? error.code === 'insufficient_storage' : storageFailure(error) !== undefined;
}
