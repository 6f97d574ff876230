// Which model files were proven on this device, so that a restart does not prove them again.
import { eq } from 'drizzle-orm';
import type { DeviceDatabase } from '../../database/open.ts';
import { proofs } from '../../database/schema.ts';
import type { ModelFiles } from '../../process/ipc.ts';
import type { PendingWrites } from '../../storage/pending-writes.ts';
import type { Failure } from '../failure.ts';

export interface Proofs {
  /** What `prove` says, which is asked only until the file's proof held once. */
  once(model: ModelFiles, prove: () => Promise<Failure | undefined>): Promise<Failure | undefined>;
}

export function createProofs(database: DeviceDatabase, writes: PendingWrites): Proofs {
  /** Whose row may not be on disk yet. */
  const held = new Set<string>();
  const isProven = (digest: string) =>
    held.has(digest) || database.select().from(proofs).where(eq(proofs.digest, digest)).get() !== undefined;
  return {
    async once({ digest: file = '', manifest: { acceptance } }, prove) {
      // Other bounds are another proof.
      const digest = acceptance === undefined || file === '' ? file : `${file} ${JSON.stringify(acceptance)}`;
      if (isProven(digest)) return undefined;
      const failure = await prove();
      if (failure !== undefined || digest === '') return failure;
      held.add(digest);
      const row = { digest, at: Date.now() };
      writes.write(`proof ${digest}`, () => void database.insert(proofs).values(row).onConflictDoNothing().run());
      return undefined;
    },
  };
}
