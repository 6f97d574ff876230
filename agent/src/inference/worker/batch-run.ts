// One run of ONNX Runtime for requests that lie in a ring's arena.
import type { TakenSlot } from '../ring/consumer.ts';
import { type ArenaViews, readRecord } from '../ring/records.ts';
import { createJoinedRunner, type RunOutcome } from './joined-run.ts';
import type { Session } from './session.ts';

export type BatchOutcome = RunOutcome;

export interface BatchRunner {
  /** Runs one request, or several with rows. The parts are valid until the next run. Throws what the session throws. */
  run(slots: readonly TakenSlot[]): Promise<BatchOutcome>;
}

/** `arena` is the ring's; the model takes no strings (those come by message). `rowed`: its first dimension is that of rows. */
export function createBatchRunner(session: Session, arena: ArenaViews, rowed: boolean): BatchRunner {
  const { inputs: specs } = session.signature;
  const runner = createJoinedRunner(session, rowed);
  return {
    async run(slots) {
      const requests = slots.map(({ inputAt, rows }) => ({
        rows,
        inputs: readRecord(arena, inputAt, specs).map(({ shape, at, byteLength }) => ({
          shape,
          bytes: arena.bytes.subarray(at, at + byteLength),
        })),
      }));
      return runner.run(requests);
    },
  };
}
