// Whether a database is as old as this version of the program: a start writes only when there is something to bring up
// to date, and never below a newer version.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AppError, parseJson } from '@edgeloop/shared/errors';
import { z } from 'zod';

const Journal = z.object({ entries: z.array(z.object({ when: z.number() })).min(1) });

/**
 * Whether migrations of `folder` are to be applied after the one of `newestApplied` (its time; undefined for a new database).
 * @throws AppError `unsupported` when a newer version has written to the database
 */
export function isOutdated(folder: string, newestApplied: number | undefined): boolean {
  const text = readFileSync(join(folder, 'meta', '_journal.json'), 'utf8');
  const newest = Math.max(
    ...parseJson(Journal, text, 'journal of migrations', 'internal').entries.map(({ when }) => when),
  );
  if (newestApplied !== undefined && newestApplied > newest)
    throw new AppError(
      'unsupported',
      'the database was written by a newer version of Edgeloop, which this one would damage: run that version, or restore the backup from before the upgrade',
    );
  return newestApplied === undefined || newestApplied < newest;
}
