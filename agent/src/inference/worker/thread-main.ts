// A worker thread: holds the sessions of one or more models and runs whatever its ring holds, as one call of ONNX
// Runtime where requests can be joined. Its one task lasts until it is told to stop.
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { AppError, messageOf } from '@edgeloop/shared/app-error';
import { type InflightSlot, openInflightSlot } from '../../process/running-note.ts';
import { type ArenaViews, recordBytes, type ShapedData, sameRows, viewsOfArena, writeRecord } from '../ring/records.ts';
import {
  byMessage,
  createConsumer,
  type RingConsumer,
  type SlotOutcome,
  slotStates,
  type TakenSlot,
} from '../ring/ring.ts';
import { sharedNowMs } from '../ring/shared-clock.ts';
import type { NamedTensor } from '../tensors.ts';
import { type BatchRunner, createBatchRunner } from './batch-run.ts';
import { proveGolden } from './golden-run.ts';
import type { Failure, FromWorker, ModelToOpen, ToWorker, WorkerStart } from './messages.ts';
import { openSession, type Session } from './session.ts';

interface OpenModel {
  name: string;
  version: number;
  session: Session;
  runner: BatchRunner;
}

interface Thread {
  port: MessagePort;
  ring: RingConsumer;
  arena: ArenaViews;
  models: Map<number, OpenModel>;
  /** Inputs that came by message, by sequence. */
  inputs: Map<number, readonly NamedTensor[]>;
  journal: InflightSlot | undefined;
  stopping: boolean;
}

/** A sleeping thread looks around so often, in case of a wake-up that never came. */
const sleepMs = 1000;
/** Larger answers would take the whole process's memory with them. */
const outputsAtMostBytes = 128 * 1024 * 1024;

/** Piscina calls it, once. */
export default async function work({ ring, port, inflight }: WorkerStart): Promise<void> {
  const thread: Thread = {
    port,
    ring: createConsumer(ring),
    arena: viewsOfArena(ring.arena),
    models: new Map(),
    inputs: new Map(),
    journal: inflight && openInflightSlot(inflight.path, inflight.slot),
    stopping: false,
  };
  while (await step(thread));
  thread.journal?.close();
  port.close();
}

/** One run, or the commands that came, or a sleep. False when all is done. */
async function step(thread: Thread): Promise<boolean> {
  const { ring } = thread;
  const bell = ring.bell();
  const slots = ring.take(sharedNowMs, (first, next) => joins(thread, first, next));
  if (slots.length > 0) {
    await runSlots(thread, slots);
    notify(thread);
    return true;
  }
  notify(thread);
  if (await obey(thread)) return true;
  if (thread.stopping) return false;
  for (const sequence of thread.inputs.keys()) if (ring.passed(sequence)) thread.inputs.delete(sequence);
  thread.journal?.rest();
  ring.sleep(bell, sleepMs);
  return true;
}

function joins({ arena, models }: Thread, first: TakenSlot, next: TakenSlot): boolean {
  const tensors = models.get(first.model)?.session.signature.inputs.length ?? 0;
  if (first.inputBytes === byMessage || next.inputBytes === byMessage) return false;
  return sameRows(arena.words, first.inputAt, next.inputAt, tensors);
}

function notify({ ring, port }: Thread): void {
  if (ring.mustNotify()) send(port, { kind: 'ended' });
}

function send(port: MessagePort, message: FromWorker): void {
  port.postMessage(message);
}

/** False when there were no commands. */
async function obey(thread: Thread): Promise<boolean> {
  let obeyed = false;
  for (let command = receive(thread.port); command !== undefined; command = receive(thread.port)) {
    obeyed = true;
    await obeyOne(thread, command);
  }
  return obeyed;
}

function receive(port: MessagePort): ToWorker | undefined {
  const received: { message: ToWorker } | undefined = receiveMessageOnPort(port);
  return received?.message;
}

async function obeyOne(thread: Thread, command: ToWorker): Promise<void> {
  switch (command.kind) {
    case 'open':
      return open(thread, command.model);
    case 'close':
      await thread.models.get(command.id)?.session.release();
      thread.models.delete(command.id);
      return send(thread.port, { kind: 'closed', id: command.id });
    case 'inputs':
      thread.inputs.set(command.sequence, command.inputs);
      return;
    case 'stop':
      thread.stopping = true;
  }
}

async function open(thread: Thread, { id, name, version, path, golden, ...options }: ModelToOpen): Promise<void> {
  const { journal, port, models, arena, ring } = thread;
  journal?.begin(name, version);
  ring.begin(id);
  try {
    const session = await openSession(path, options);
    if (golden) await proveGolden(session, golden);
    models.set(id, { name, version, session, runner: createBatchRunner(session, arena) });
    const { signature, batchable, providers } = session;
    send(port, { kind: 'opened', id, model: { signature, batchable, providers } });
  } catch (error) {
    send(port, { kind: 'refused', id, failure: failureOf(error) });
  } finally {
    ring.end();
  }
}

function failureOf(error: unknown): Failure {
  return { code: error instanceof AppError ? error.code : 'internal', message: messageOf(error) };
}

async function runSlots(thread: Thread, slots: readonly TakenSlot[]): Promise<void> {
  const { models, journal, ring } = thread;
  const [first] = slots;
  if (!first) return;
  const model = models.get(first.model);
  if (!model) return failAll(thread, slots, new AppError('internal', 'the model is not in this worker thread'));
  journal?.begin(model.name, model.version);
  ring.begin(first.model);
  try {
    if (first.inputBytes === byMessage) await runFromMessage(thread, model, first);
    else if (slots.length === 1 || !(await runTogether(thread, model, slots))) await runEach(thread, model, slots);
  } finally {
    ring.end();
  }
}

/** False when the requests must run each on its own: the run failed, or gave no row for each row. */
async function runTogether(thread: Thread, model: OpenModel, slots: readonly TakenSlot[]): Promise<boolean> {
  const startedAtMs = sharedNowMs();
  try {
    const { parts, inputMs, runMs } = await model.runner.run(slots);
    if (!parts) {
      send(thread.port, { kind: 'unbatchable', id: slots[0]?.model ?? 0 });
      return false;
    }
    const rows = slots.reduce((sum, slot) => sum + slot.rows, 0);
    const doneMs = performance.now();
    for (const [i, slot] of slots.entries()) {
      const outcome = {
        startedAtMs,
        inputMs,
        runMs,
        outputMs: performance.now() - doneMs,
        runRows: i === 0 ? rows : 0,
      };
      deliver(thread, slot, parts[i] ?? [], outcome);
    }
    return true;
  } catch {
    // One bad request must not fail its neighbours; alone, each gets its own outcome and error.
    return false;
  }
}

async function runEach(thread: Thread, { runner }: OpenModel, slots: readonly TakenSlot[]): Promise<void> {
  for (const slot of slots) {
    const startedAtMs = sharedNowMs();
    try {
      const { parts, inputMs, runMs } = await runner.run([slot]);
      const runRows = Math.max(slot.rows, 1);
      deliver(thread, slot, parts?.[0] ?? [], { startedAtMs, inputMs, runMs, outputMs: 0, runRows });
    } catch (error) {
      failAll(thread, [slot], error);
    }
  }
}

async function runFromMessage(thread: Thread, { session }: OpenModel, slot: TakenSlot): Promise<void> {
  const startedAtMs = sharedNowMs();
  try {
    await obey(thread);
    const inputs = thread.inputs.get(slot.sequence);
    thread.inputs.delete(slot.sequence);
    if (!inputs) throw new AppError('internal', 'the inputs of a request did not reach the worker thread');
    const runAtMs = performance.now();
    const outputs = await session.run(inputs);
    const outcome = { startedAtMs, inputMs: 0, runMs: performance.now() - runAtMs, outputMs: 0 };
    deliver(thread, slot, outputs, { ...outcome, runRows: Math.max(slot.rows, 1) });
  } catch (error) {
    failAll(thread, [slot], error);
  }
}

function deliver(thread: Thread, slot: TakenSlot, outputs: readonly ShapedData[], outcome: SlotOutcome): void {
  const { ring, arena, port } = thread;
  const bytes = recordBytes(outputs);
  if (bytes !== undefined && bytes <= slot.outputBytes) {
    writeRecord(arena, slot.outputAt, outputs);
    ring.finish(slot.sequence, slotStates.done, outcome);
    return;
  }
  const total = bytes ?? 0;
  if (total > outputsAtMostBytes) {
    const [is, most] = [total, outputsAtMostBytes].map((size) => Math.round(size / 1024 / 1024));
    throw new AppError('payload_too_large', `the outputs take ${is} MB, more than the ${most} MB that can be answered`);
  }
  // Copies: a typed array may be a part of a whole batch, or of a buffer that the next run reuses.
  const copies = outputs.map(({ shape, data }) => ({ shape, data: data.slice() }));
  const buffers = copies.flatMap(({ data }) => (Array.isArray(data) ? [] : [data.buffer]));
  const message: FromWorker = { kind: 'outputs', sequence: slot.sequence, outputs: copies };
  port.postMessage(message, buffers);
  ring.finish(slot.sequence, slotStates.elsewhere, outcome);
}

function failAll({ port, ring }: Thread, slots: readonly TakenSlot[], error: unknown): void {
  const outcome = { startedAtMs: sharedNowMs(), inputMs: 0, runMs: 0, outputMs: 0, runRows: 0 };
  for (const { sequence } of slots) {
    send(port, { kind: 'failed', sequence, failure: failureOf(error) });
    ring.finish(sequence, slotStates.failed, outcome);
  }
}
