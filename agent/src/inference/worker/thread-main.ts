// A worker thread: holds the sessions of one or more models and runs whatever its ring holds, as one call of ONNX
// Runtime where requests can be joined. Its one task lasts until it is told to stop.
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { AppError } from '@edgeloop/shared/app-error';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import { openRunningNoteSlot, type RunningNoteSlot } from '../../process/running-note.ts';
import { judgeJoining } from '../joining/joining.ts';
import { createConsumer, type TakenSlot } from '../ring/consumer.ts';
import { sameRows, viewsOfArena } from '../ring/records.ts';
import { byMessage } from '../ring/ring.ts';
import { sharedNowMs } from '../ring/shared-clock.ts';
import { type BatchRunner, createBatchRunner } from './batch-run.ts';
import { collectGarbage } from './garbage.ts';
import { proveGolden } from './golden-run.ts';
import { failureOf, type ModelToOpen, type OpeningAnswer, type ToWorker, type WorkerStart } from './messages.ts';
import { openModel } from './open-model.ts';
import { presentTaskId, threadTimeMs } from './processor-time.ts';
import { runFromRing } from './ring-runs.ts';
import type { Session } from './session.ts';
import { answer, fail, giveBack, send, type WayBack } from './way-back.ts';

interface OpenModel {
  name: string;
  version: number;
  session: Session;
  runner: BatchRunner;
}

interface Thread extends WayBack {
  models: Map<number, OpenModel>;
  /** Inputs that came by message, by sequence. */
  inputs: Map<number, readonly NamedTensor[]>;
  /** Opened with the first model: until then it may be another process's. */
  runningNote: RunningNoteSlot | undefined;
  openNote(): RunningNoteSlot | undefined;
  taskId: number | undefined;
  stopping: boolean;
}

/** A sleeping thread looks around so often, in case of a wake-up that never came. */
const sleepMs = 1000;

/** Piscina calls it, once. */
export default async function work({ ring, port, runningNote }: WorkerStart): Promise<void> {
  const thread: Thread = {
    port,
    ring: createConsumer(ring),
    arena: viewsOfArena(ring.arena),
    models: new Map(),
    inputs: new Map(),
    runningNote: undefined,
    openNote: () => runningNote && openRunningNoteSlot(runningNote.path, runningNote.slot),
    taskId: presentTaskId(),
    stopping: false,
  };
  send(thread, { kind: 'started', taskId: thread.taskId });
  while (await step(thread));
  thread.runningNote?.close();
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
  thread.runningNote?.rest();
  ring.sleep(bell, sleepMs);
  if (ring.bell() === bell) collectGarbage();
  return true;
}

function joins({ arena, models }: Thread, first: TakenSlot, next: TakenSlot): boolean {
  const tensors = models.get(first.model)?.session.signature.inputs.length ?? 0;
  if (first.inputBytes === byMessage || next.inputBytes === byMessage) return false;
  return sameRows(arena.words, first.inputAt, next.inputAt, tensors);
}

function notify(thread: Thread): void {
  if (thread.ring.mustNotify()) send(thread, { kind: 'ended' });
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
      // Told when it has ended, so that whoever hears of it may hand over work.
      return send(thread, await open(thread, command.model));
    case 'close':
      await thread.models.get(command.id)?.session.release();
      thread.models.delete(command.id);
      return send(thread, { kind: 'closed', id: command.id });
    case 'inputs':
      thread.inputs.set(command.sequence, command.inputs);
      return;
    case 'stop':
      thread.stopping = true;
  }
}

async function open(
  thread: Thread,
  { id, name, version, path, golden, joining: known, ...options }: ModelToOpen,
): Promise<OpeningAnswer> {
  const { models, arena, ring } = thread;
  thread.runningNote ??= thread.openNote();
  thread.runningNote?.begin(name, version);
  ring.begin(id);
  const begunMs = spentMs(thread);
  try {
    // What it is tried with is none of its callers'.
    const { session, graph } = await openModel(
      path,
      options,
      (runs) => models.has(id) && send(thread, { kind: 'steps', id, runs }),
    );
    if (golden) await proveGolden(session, golden);
    const loadMs = spentMs(thread) - begunMs;
    const { signature, providers, steps } = session;
    const joining = known ?? (await judgeJoining({ ...session, ...graph, golden, nowMs: () => spentMs(thread) }));
    models.set(id, { name, version, session, runner: createBatchRunner(session, arena, joining.allowed) });
    return { kind: 'opened', id, model: { signature, steps, joining, plain: graph.isPlain(), providers, loadMs } };
  } catch (error) {
    return { kind: 'refused', id, failure: failureOf(error) };
  } finally {
    ring.end();
  }
}

/** Of the processor where that is known: on a busy machine, and from a file that is not cached yet, all takes long once. */
function spentMs({ taskId }: Thread): number {
  return threadTimeMs(taskId) ?? performance.now();
}

async function runSlots(thread: Thread, slots: readonly TakenSlot[]): Promise<void> {
  const { models, runningNote, ring } = thread;
  const [first] = slots;
  if (!first) return;
  // Its inputs were sent before the slot. Apart from the run, since other commands may come with them.
  if (first.inputBytes === byMessage) await obey(thread);
  const model = models.get(first.model);
  if (!model) {
    // It moved to another thread while this was on its way.
    for (const slot of slots) giveBack(thread, slot);
    return;
  }
  runningNote?.begin(model.name, model.version);
  ring.begin(first.model);
  try {
    if (first.inputBytes === byMessage) await runFromMessage(thread, model, first);
    else await runFromRing(thread, model.runner, slots);
  } finally {
    ring.end();
  }
}

async function runFromMessage(thread: Thread, { session }: OpenModel, slot: TakenSlot): Promise<void> {
  const startedAtMs = sharedNowMs();
  try {
    const inputs = thread.inputs.get(slot.sequence);
    thread.inputs.delete(slot.sequence);
    if (!inputs) throw new AppError('internal', 'the inputs of a request did not reach the worker thread');
    const runAtMs = performance.now();
    const outputs = await session.run(inputs);
    const runMs = performance.now() - runAtMs;
    answer(thread, slot, outputs, { startedAtMs, inputMs: 0, runMs, outputMs: 0, runRows: Math.max(slot.rows, 1) });
  } catch (error) {
    fail(thread, slot, error);
  }
}
