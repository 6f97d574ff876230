// The way back from a worker thread to the HTTP thread: outputs go into the room that the request has in the ring's arena,
// or by message when they don't fit there or hold strings. A request ends once, done or failed.
import type { MessagePort } from 'node:worker_threads';
import { AppError } from '@edgeloop/shared/app-error';
import type { RingConsumer, TakenSlot } from '../ring/consumer.ts';
import { type ArenaViews, messageBytes, recordBytes, type ShapedData, writeRecord } from '../ring/records.ts';
import { type SlotOutcome, slotStates } from '../ring/ring.ts';
import { sharedNowMs } from '../ring/shared-clock.ts';
import { type FromWorker, failureOf } from './messages.ts';

export interface WayBack {
  ring: RingConsumer;
  arena: ArenaViews;
  port: MessagePort;
}

/** Larger answers would take the whole process's memory with them. */
const outputsAtMostBytes = 128 * 1024 * 1024;

export function send({ port }: WayBack, message: FromWorker): void {
  port.postMessage(message);
}

/**
 * Ends the request with its outputs, or, when those can't be delivered, as failed. Never throws: whoever ran it can't tell
 * how far the delivery came, and must not do it again. False when it failed.
 */
export function answer(way: WayBack, slot: TakenSlot, outputs: readonly ShapedData[], outcome: SlotOutcome): boolean {
  try {
    const state = deliver(way, slot, outputs);
    way.ring.finish(slot.sequence, state, outcome);
    return true;
  } catch (error) {
    fail(way, slot, error);
    return false;
  }
}

export function fail(way: WayBack, { sequence }: TakenSlot, error: unknown): void {
  send(way, { kind: 'failed', sequence, failure: failureOf(error) });
  way.ring.finish(sequence, slotStates.failed, noOutcome());
}

/** It did not run and is none of this thread's; it may run elsewhere. */
export function giveBack({ ring }: WayBack, { sequence }: TakenSlot): void {
  ring.finish(sequence, slotStates.lost, noOutcome());
}

function noOutcome(): SlotOutcome {
  return { startedAtMs: sharedNowMs(), inputMs: 0, runMs: 0, outputMs: 0, runRows: 0 };
}

/** The state that says where the outputs are. */
function deliver({ arena, port }: WayBack, slot: TakenSlot, outputs: readonly ShapedData[]) {
  const bytes = recordBytes(outputs);
  if (bytes !== undefined && bytes <= slot.outputBytes) {
    writeRecord(arena, slot.outputAt, outputs);
    return slotStates.done;
  }
  const total = bytes ?? messageBytes(outputs);
  if (total > outputsAtMostBytes) {
    const [is, most] = [total, outputsAtMostBytes].map((size) => Math.round(size / 1024 / 1024));
    throw new AppError('payload_too_large', `the outputs take ${is} MB, more than the ${most} MB that can be answered`);
  }
  // Copies: a typed array may be a part of a whole batch, or of a buffer that the next run reuses.
  const copies = outputs.map(({ shape, data }) => ({ shape, data: data.slice() }));
  const buffers = copies.flatMap(({ data }) => (Array.isArray(data) ? [] : [data.buffer]));
  port.postMessage({ kind: 'outputs', sequence: slot.sequence, outputs: copies } satisfies FromWorker, buffers);
  return slotStates.elsewhere;
}
