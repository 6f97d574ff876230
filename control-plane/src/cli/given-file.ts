// A file that a command was given, to be sent.
import { openAsBlob } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { AppError, messageOf } from '@edgeloop/shared/errors';

/** Read while it is sent; what is no plain file, a pipe for example, can be read only once and is read now. */
export async function givenFile(path: string): Promise<Blob> {
  try {
    return (await stat(path)).isFile() ? await openAsBlob(path) : new Blob([await readFile(path)]);
  } catch (cause) {
    throw new AppError('invalid_request', `cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}
