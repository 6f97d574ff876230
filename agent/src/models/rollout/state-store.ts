// The models' states on disk: each is written before the step that it announces is made, unless the disk takes nothing; then
// it holds in memory, since a device whose disk is full must still be able to go back to what works.
import { messageOf, parseJson } from '@edgeloop/shared/errors';
import { eq } from 'drizzle-orm';
import type { Logger } from 'pino';
import type { DeviceDatabase } from '../../database/open.ts';
import { modelStates } from '../../database/schema.ts';
import type { PendingWrites } from '../../storage/pending-writes.ts';
import { anyModelState, type ReleaseOnDisk } from './former-state.ts';
import type { ModelState } from './model-state.ts';

export interface StateStore {
  /** `releaseOnDisk` says which releases the numbers in states of former agents stand for. */
  load(releaseOnDisk: ReleaseOnDisk): ModelState[];
  /** Whether it is on disk now; otherwise it will be when the disk takes it. */
  save(state: ModelState): boolean;
  remove(name: string): void;
}

export function createStateStore(database: DeviceDatabase, writes: PendingWrites, log: Logger): StateStore {
  return {
    load: (releaseOnDisk) => {
      const schema = anyModelState(releaseOnDisk);
      return database
        .select()
        .from(modelStates)
        .all()
        .flatMap(({ name, state }) => {
          try {
            return [parseJson(schema, state, `state of ${name}`, 'integrity')];
          } catch (error) {
            log.error({ model: name, reason: messageOf(error) }, 'a model state cannot be read and is rebuilt');
            return [];
          }
        });
    },
    save(state) {
      const text = JSON.stringify(state);
      return writes.write(`state ${state.name}`, () => {
        database
          .insert(modelStates)
          .values({ name: state.name, state: text })
          .onConflictDoUpdate({ target: modelStates.name, set: { state: text } })
          .run();
      });
    },
    remove(name) {
      writes.write(`state ${name}`, () => void database.delete(modelStates).where(eq(modelStates.name, name)).run());
    },
  };
}
