// Runs requests whose inputs lie in the ring: together as far as they can be, else each on its own.

import type { TakenSlot } from '../ring/consumer.ts';
import { sharedNowMs } from '../ring/shared-clock.ts';
import type { BatchOutcome, BatchRunner } from './batch-run.ts';
import { answer, fail, send, type WayBack } from './way-back.ts';

/** Each request gets exactly one outcome. `slots` are of one model and not empty. */
export async function runFromRing(way: WayBack, runner: BatchRunner, slots: readonly TakenSlot[]): Promise<void> {
  if (slots.length > 1 && (await runTogether(way, runner, slots))) return;
  for (const slot of slots) {
    const startedAtMs = sharedNowMs();
    try {
      const { parts, inputMs, runMs } = await runner.run([slot]);
      const outcome = { startedAtMs, inputMs, runMs, outputMs: 0, runRows: Math.max(slot.rows, 1) };
      answer(way, slot, parts?.[0] ?? [], outcome);
    } catch (error) {
      fail(way, slot, error);
    }
  }
}

/** False when the requests must run each on its own, and none of them has been answered. */
async function runTogether(way: WayBack, runner: BatchRunner, slots: readonly TakenSlot[]): Promise<boolean> {
  const startedAtMs = sharedNowMs();
  let ran: BatchOutcome;
  try {
    ran = await runner.run(slots);
  } catch {
    // One bad request must not fail its neighbours; alone, each gets its own outcome and error.
    return false;
  }
  const { parts, inputMs, runMs } = ran;
  if (!parts) {
    send(way, { kind: 'unbatchable', id: slots[0]?.model ?? 0 });
    return false;
  }
  const doneMs = performance.now();
  // The first that is answered tells of the run, so that it counts once.
  let runRows = slots.reduce((sum, slot) => sum + slot.rows, 0);
  for (const [i, slot] of slots.entries()) {
    const outcome = { startedAtMs, inputMs, runMs, outputMs: performance.now() - doneMs, runRows };
    if (answer(way, slot, parts[i] ?? [], outcome)) runRows = 0;
  }
  return true;
}
