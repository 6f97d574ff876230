// Which model files were proven on this device, so that a restart does not prove them again.
import { eq } from 'drizzle-orm';
import type { DeviceDatabase } from '../../database/open.ts';
import { proofs } from '../../database/schema.ts';
import type { ModelFiles } from '../../process/ipc.ts';
import type { Failure } from '../failure.ts';

export interface Proofs {
  /** What `prove` says, which is asked only until the file's proof held once. */
  once(model: ModelFiles, prove: () => Promise<Failure | undefined>): Promise<Failure | undefined>;
}

export function createProofs(database: DeviceDatabase): Proofs {
  return {
    async once({ digest = '' }, prove) {
      if (database.select().from(proofs).where(eq(proofs.digest, digest)).get() !== undefined) return undefined;
      const failure = await prove();
      if (failure === undefined && digest !== '')
        database.insert(proofs).values({ digest, at: Date.now() }).onConflictDoNothing().run();
      return failure;
    },
  };
}
