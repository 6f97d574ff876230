// Pending writes for tests of what writes through them: without a reserve, and without words.
import { tmpdir } from 'node:os';
import { pino } from 'pino';
import { Problems } from '../problems.ts';
import { PendingWrites } from './pending-writes.ts';

const log = pino({ level: 'silent' });

export function pendingWrites(): PendingWrites {
  const reserve = { make: () => true, release: () => false };
  return new PendingWrites({ folder: tmpdir(), reserve, problems: new Problems(log), log });
}
