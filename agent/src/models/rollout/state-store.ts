// The models' states on disk: each is written before the step that it announces is made.
import { messageOf, parseJson } from '@edgeloop/shared/errors';
import { eq } from 'drizzle-orm';
import type { Logger } from 'pino';
import type { DeviceDatabase } from '../../database/open.ts';
import { modelStates } from '../../database/schema.ts';
import { ModelState } from './model-state.ts';

export interface StateStore {
  load(): ModelState[];
  save(state: ModelState): void;
  remove(name: string): void;
}

export function createStateStore(database: DeviceDatabase, log: Logger): StateStore {
  return {
    load: () =>
      database
        .select()
        .from(modelStates)
        .all()
        .flatMap(({ name, state }) => {
          try {
            return [parseJson(ModelState, state, `state of ${name}`, 'integrity')];
          } catch (error) {
            log.error({ model: name, reason: messageOf(error) }, 'a model state cannot be read and is rebuilt');
            return [];
          }
        }),
    save(state) {
      const text = JSON.stringify(state);
      database
        .insert(modelStates)
        .values({ name: state.name, state: text })
        .onConflictDoUpdate({ target: modelStates.name, set: { state: text } })
        .run();
    },
    remove: (name) => void database.delete(modelStates).where(eq(modelStates.name, name)).run(),
  };
}
