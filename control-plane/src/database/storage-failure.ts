// What it means when bytes cannot be kept: one table from the codes of the kernel, SQLite and PostgreSQL to words for
// people. Reads go on; the write was not made and may be sent again once there is room.
import { AppError } from '@edgeloop/shared/errors';

interface Kind {
  matches: RegExp;
  /** What is the matter, and what is to be done. */
  what: string;
  mend: string;
  isDamage?: true;
}

const kinds: readonly Kind[] = [
  {
    matches: /^(ENOSPC|SQLITE_FULL|SQLITE_IOERR_SHMSIZE|53100|no space left on device)$/,
    what: 'no space left on the server’s disk',
    mend: 'free some space',
  },
  {
    matches: /^(EDQUOT|disk quota exceeded)$/,
    what: 'the server’s disk quota is used up',
    mend: 'free some space or raise the quota',
  },
  {
    matches: /^(EROFS|SQLITE_READONLY(_\w+)?|25006|read-only file system)$/,
    what: 'the server’s storage is read-only',
    mend: 'let it be written to',
  },
  {
    matches: /^(EIO|SQLITE_IOERR(_\w+)?|58030|input\/output error)$/,
    what: 'the server’s disk fails to read or write',
    mend: 'look into the system’s log, mind the backup',
  },
  {
    matches: /^(SQLITE_CORRUPT(_\w+)?|SQLITE_NOTADB|XX001|XX002)$/,
    what: 'the server’s database is damaged',
    mend: 'stop the server and restore the database from a backup',
    isDamage: true,
  },
];

/** Child processes and DuckDB tell in words only. */
const inWords = /no space left on device|disk quota exceeded|read-only file system|input\/output error/i;

/** The failure as an AppError that says what happened and what to do; undefined when it has another reason, or words already. */
export function storageFailure(error: unknown): AppError | undefined {
  const kind = error instanceof AppError ? undefined : kindOf(error);
  if (kind === undefined) return undefined;
  const { what, mend, isDamage = false } = kind;
  if (isDamage) return new AppError('internal', `${what}: ${mend}`, { cause: error });
  const message = `${what}: nothing was changed and reads go on; ${mend}, then send it again`;
  return new AppError('insufficient_storage', message, { cause: error });
}

/** The same for what kept the server from starting on `folder`. */
export function startFailure(error: unknown, folder: string): AppError | undefined {
  const kind = error instanceof AppError ? undefined : kindOf(error);
  if (kind === undefined) return undefined;
  const message = `${kind.what}, so it cannot start on ${folder}: ${kind.mend}, then start again`;
  return new AppError('insufficient_storage', message, { cause: error });
}

/** Whether it is a write that could not be made for want of storage, as `storageFailure` names it. */
export function isStorageFailure(error: unknown): boolean {
  return (storageFailure(error) ?? (error instanceof AppError ? error : undefined))?.code === 'insufficient_storage';
}

/** Whether the database was found damaged, also behind an AppError. */
export function isDamage(error: unknown): boolean {
  return kindOf(error)?.isDamage === true;
}

function kindOf(error: unknown): Kind | undefined {
  for (let each = error; each instanceof Error; each = each.cause) {
    const names = ['code' in each ? String(each.code) : '', inWords.exec(each.message)?.[0].toLowerCase() ?? ''];
    const kind = kinds.find(({ matches }) => names.some((name) => matches.test(name)));
    if (kind !== undefined) return kind;
  }
  return undefined;
}
