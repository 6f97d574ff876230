// Which failures are the disk's and not the program's: it is full, over its quota, mounted read-only, does not work, or what
// was to be written to is gone.
// What failed so may succeed later without anybody changing the program.

const errnos = [
  ...['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EFBIG', 'EACCES', 'EPERM', 'EMFILE', 'ENFILE'],
  ...['ENOENT', 'ENOTDIR', 'EISDIR'],
];
const sqlite = /^SQLITE_(FULL|READONLY|IOERR|CANTOPEN|PERM)/;

/** Whether the disk refused. */
export function isStorageRefusal(error: unknown): error is Error & { code: string } {
  const code = codeOf(error);
  return code !== undefined && (errnos.includes(code) || sqlite.test(code));
}

/** Whether it refused for want of room, so that making some helps. */
export function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT', 'SQLITE_FULL', 'SQLITE_IOERR_SHMSIZE'].includes(codeOf(error) ?? '');
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
