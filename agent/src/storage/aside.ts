// What lies in the place of one of the agent's own files and cannot be one is moved aside, never deleted: somebody may want
// to look at it, and nothing that serves should end because of it.
import { lstatSync, renameSync } from 'node:fs';

/** Renames `path`, and the files that belong to it; where it is now. */
export function moveAside(path: string, suffixes: readonly string[] = []): string {
  const aside = `${path}.damaged-${new Date().toISOString().replace(/[:.]/g, '-')}`;
  for (const suffix of ['', ...suffixes])
    if (lstatSync(path + suffix, { throwIfNoEntry: false }) !== undefined) renameSync(path + suffix, aside + suffix);
  return aside;
}

/** Moves aside what is there and no file, or no folder; where it is now, or undefined when there was nothing to do. */
export function moveAsideUnless(kind: 'file' | 'folder', path: string): string | undefined {
  const found = lstatSync(path, { throwIfNoEntry: false });
  // A link may lead to either, on purpose.
  if (found === undefined || found.isSymbolicLink()) return undefined;
  const fits = kind === 'file' ? found.isFile() : found.isDirectory();
  return fits ? undefined : moveAside(path);
}
