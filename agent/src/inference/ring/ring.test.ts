import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aligned, createArena } from './arena.ts';
import { createConsumer } from './consumer.ts';
import { createProducer } from './producer.ts';
import { allocateRing, type SlotOutcome, slotStates } from './ring.ts';

const request = {
  model: 1,
  rows: 1,
  maxRows: 4,
  inputAt: 0,
  inputBytes: 8,
  outputAt: 8,
  outputBytes: 8,
  deadlineMs: 0,
};
const outcome: SlotOutcome = { startedAtMs: 1, inputMs: 2, runMs: 3, outputMs: 4, runRows: 5 };
const slots = 8;

type Command =
  | { kind: 'publish'; model: number; rows: number; maxRows: number; deadlineMs: number }
  | { kind: 'cancel'; back: number }
  | { kind: 'take'; nowMs: number }
  | { kind: 'finish' }
  | { kind: 'reclaim' };

const commands: fc.Arbitrary<Command[]> = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant('publish' as const),
      model: fc.integer({ min: 1, max: 2 }),
      rows: fc.nat(3),
      maxRows: fc.integer({ min: 1, max: 5 }),
      deadlineMs: fc.constantFrom(0, 0, 50),
    }),
    fc.record({ kind: fc.constant('cancel' as const), back: fc.nat(slots) }),
    fc.record({ kind: fc.constant('take' as const), nowMs: fc.constantFrom(1, 100) }),
    fc.record({ kind: fc.constant('finish' as const) }),
    fc.record({ kind: fc.constant('reclaim' as const) }),
  ),
  { maxLength: 200 },
);

describe('the ring', () => {
  it('runs every request once or not at all, in order, and gives each slot back once, whatever both sides do', () => {
    fc.assert(
      fc.property(commands, (steps) => {
        const shared = allocateRing(slots, 64);
        const producer = createProducer(shared);
        const consumer = createConsumer(shared);
        const published: (Command & { kind: 'publish' })[] = [];
        const cancelled = new Set<number>();
        const taken: number[] = [];
        const finished: number[] = [];
        const reclaimed: number[] = [];
        for (const step of steps) {
          if (step.kind === 'publish' && producer.free() > 0) {
            const { model, rows, maxRows, deadlineMs } = step;
            expect(producer.publish({ ...request, model, rows, maxRows, deadlineMs })).toBe(published.length);
            published.push(step);
          }
          if (step.kind === 'cancel') {
            const sequence = published.length - 1 - step.back;
            // Only what was not given back is known to the producer.
            if (sequence >= reclaimed.length && producer.cancel(sequence)) cancelled.add(sequence);
          }
          if (step.kind === 'take') {
            const batch = consumer.take(
              () => step.nowMs,
              () => true,
            );
            const [first] = batch;
            const rows = batch.reduce((sum, slot) => sum + slot.rows, 0);
            if (first && batch.length > 1) {
              expect(new Set(batch.map(({ model }) => model)).size).toBe(1);
              expect(batch.every((slot) => slot.rows > 0 && rows <= slot.maxRows)).toBe(true);
            }
            for (const { sequence, deadlineMs } of batch) {
              expect(deadlineMs === 0 || step.nowMs < deadlineMs).toBe(true);
              taken.push(sequence);
            }
          }
          if (step.kind === 'finish') {
            const next = taken[finished.length];
            if (next !== undefined) {
              consumer.finish(next, slotStates.done, outcome);
              finished.push(next);
            }
          }
          if (step.kind === 'reclaim') {
            const sequence = producer.reclaim();
            if (sequence === undefined) continue;
            expect(sequence).toBe(reclaimed.length);
            const state = producer.state(sequence);
            const fate = cancelled.has(sequence)
              ? slotStates.cancelled
              : finished.includes(sequence)
                ? slotStates.done
                : slotStates.expired;
            expect(state).toBe(fate);
            if (state === slotStates.done) expect(producer.outcome(sequence)).toEqual(outcome);
            reclaimed.push(sequence);
          }
          expect(producer.free()).toBe(slots - (published.length - reclaimed.length));
        }
        expect(taken).toEqual([...new Set(taken)].sort((a, b) => a - b));
        expect(taken.some((sequence) => cancelled.has(sequence))).toBe(false);
      }),
      { numRuns: 500 },
    );
  });

  it('tells the producer once of what ended, until it has looked', () => {
    const shared = allocateRing(slots, 64);
    const producer = createProducer(shared);
    const consumer = createConsumer(shared);
    const runOne = (): boolean => {
      producer.publish(request);
      const [slot] = consumer.take(
        () => 0,
        () => true,
      );
      consumer.finish(slot?.sequence ?? -1, slotStates.done, outcome);
      return consumer.mustNotify();
    };
    expect(consumer.mustNotify()).toBe(false);
    expect(runOne()).toBe(true);
    expect(runOne()).toBe(false);
    producer.clearNotified();
    expect(runOne()).toBe(true);
  });

  it('does not sleep through a wake-up that came while it looked for work', () => {
    const shared = allocateRing(slots, 64);
    const producer = createProducer(shared);
    const consumer = createConsumer(shared);
    const bell = consumer.bell();
    producer.publish(request);
    producer.wake();
    const startedMs = performance.now();
    consumer.sleep(bell, 60_000);
    expect(performance.now() - startedMs).toBeLessThan(30_000);
  });

  it('shows which model runs, and every start and end', () => {
    const shared = allocateRing(slots, 64);
    const producer = createProducer(shared);
    const consumer = createConsumer(shared);
    expect(producer.runs() % 2).toBe(0);
    consumer.begin(7);
    expect([producer.runs() % 2, producer.running()]).toEqual([1, 7]);
    consumer.end();
    expect(producer.runs()).toBe(2);
  });
});

describe('the arena', () => {
  it('never gives out bytes twice, keeps them aligned, and is whole again when all came back', () => {
    const size = 256;
    fc.assert(
      fc.property(fc.array(fc.option(fc.integer({ min: 0, max: 120 }), { nil: undefined })), (steps) => {
        const arena = createArena(size);
        const held: { from: number; to: number }[] = [];
        for (const bytes of steps) {
          if (bytes === undefined) {
            held.shift();
            arena.release();
            continue;
          }
          const from = arena.allocate(bytes);
          if (from === undefined) {
            expect(held.length).toBeGreaterThan(0);
            continue;
          }
          const to = from + Math.max(aligned(bytes), 8);
          expect(from % 8).toBe(0);
          expect(to).toBeLessThanOrEqual(size);
          expect(held.some((other) => from < other.to && other.from < to)).toBe(false);
          held.push({ from, to });
        }
        for (const _ of held) arena.release();
        expect(arena.allocate(size)).toBe(0);
        expect(arena.allocate(8)).toBeUndefined();
      }),
    );
  });
});
