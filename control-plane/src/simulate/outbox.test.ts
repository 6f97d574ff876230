import { TelemetryBatch } from '@edgeloop/shared/telemetry';
import { maxPayloadBytes } from '@edgeloop/shared/topics';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { SimulatedOutbox } from './outbox.ts';

const loss = (windows: number) => ({ kind: 'loss' as const, windows, requests: 0, labels: 0 });
const batchOf = (outbox: SimulatedOutbox) => TelemetryBatch.parse(JSON.parse(outbox.take()?.text ?? '{}'));

it('sends everything in order until it is said to be stored, whatever is added, acknowledged and said twice', () => {
  const step = fc.oneof(fc.constant('add' as const), fc.record({ acknowledge: fc.nat(60) }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const outbox = new SimulatedOutbox(5);
      let [added, stored] = [0, 0];
      for (const each of steps) {
        if (each === 'add') outbox.add(loss(++added));
        else {
          const sequence = Math.min(added, each.acknowledge);
          expect(outbox.acknowledge({ epoch: 5, sequence })).toBe(Math.max(0, sequence - stored));
          stored = Math.max(stored, sequence);
        }
        expect(outbox.waiting).toBe(added - stored);
        if (added === stored) expect(outbox.take()).toBeUndefined();
        else {
          const { epoch, items } = batchOf(outbox);
          expect(epoch).toBe(5);
          expect(items.map(({ sequence }) => sequence)).toEqual(items.map((_, i) => stored + 1 + i));
          expect(items.map(({ item }) => item)).toEqual(items.map(({ sequence }) => loss(sequence)));
        }
      }
    }),
  );
});

it('knows no acknowledgement of another epoch', () => {
  const outbox = new SimulatedOutbox(5);
  outbox.add(loss(1));
  expect(outbox.acknowledge({ epoch: 4, sequence: 1 })).toBe(0);
  expect(outbox.waiting).toBe(1);
});

it('sends what fits one message', () => {
  const outbox = new SimulatedOutbox(1);
  const labels = Array.from({ length: 100 }, (_, i) => ({
    ...{ inferenceId: `${i}`.padEnd(200, 'x'), model: 'm', version: 1, predictedAt: 1, predicted: 'a' },
    ...{ label: 'b', labelledAt: 2 },
  }));
  for (let i = 0; i < 20; i++) outbox.add({ kind: 'labels', labels });
  const taken = outbox.take();
  expect(taken?.items).toBeGreaterThan(1);
  expect(taken?.items).toBeLessThan(20);
  expect(taken?.text.length).toBeLessThan(maxPayloadBytes);
});

it('says when it is full', () => {
  const outbox = new SimulatedOutbox(1);
  for (let i = 0; !outbox.isFull; i++) outbox.add(loss(i));
  expect(outbox.waiting).toBe(1000);
  outbox.acknowledge({ epoch: 1, sequence: 1 });
  expect(outbox.isFull).toBe(false);
});
