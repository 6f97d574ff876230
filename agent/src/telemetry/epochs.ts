// Epochs of the outbox. Each start of the agent numbers what it adds in an epoch of its own: the disk may be a copy of another
// device's, or an old one put back, and nothing on it tells. Numbers that were given before keep their epoch, so that what two
// copies held together is stored once.
import { randomInt } from 'node:crypto';
import { clockBoundMs } from '@edgeloop/shared/clock';
import { parseJson } from '@edgeloop/shared/errors';
import { Instant } from '@edgeloop/shared/identifiers';
import { asc } from 'drizzle-orm';
import { z } from 'zod';
import { type Reader, readFact, writeFact } from '../database/facts.ts';
import { outbox } from '../database/schema.ts';

/** Rows of the outbox from this one on are numbered in it, from 1. */
const Epoch = z.object({
  epoch: Instant,
  from: z.number().int().min(1),
  /** How far the clock was from the server's, by the last reading in it. */
  offsetMs: z.number().int().optional(),
});
type Epoch = z.infer<typeof Epoch>;
const Stored = z.array(Epoch);

export interface Epochs {
  /** A new epoch, as soon as something is added. */
  begin(): void;
  /** What is added next, in this transaction, gets the row `next`. */
  opened(transaction: Reader, next: number): void;
  /** The first row of the present epoch. */
  presentFrom(): number;
  /** The epoch of a row, and its number there. */
  of(row: number): { epoch: number; offsetMs: number | undefined; numberOf(row: number): number };
  /** The clock was read in the present epoch; for what the next start sends of it. */
  clockRead(offsetMs: number): void;
  /** The row of a number; undefined for an epoch that has none. */
  rowOf(epoch: number, number: number): number | undefined;
}

/** Two copies whose clocks start at the same instant begin different ones. */
const spreadMs = 86_400_000;
/** Half of what makes a clock a wrong one. */
const offsetToldMs = clockBoundMs / 2;

/** `next`: the row of what is added next. */
export function createEpochs(database: Reader, next: number): Epochs {
  // Here nothing is in the midst of a transaction, so that what has no row now never has one again.
  let epochs = heldIn(database, readEpochs(database), next);
  let beginning = epochs.length === 0;

  function found(row: number): Epoch {
    const epoch = epochs.findLast(({ from }) => from <= row);
    if (epoch === undefined) throw new Error(`row ${row} of the outbox is of no epoch`);
    return epoch;
  }

  function keep(transaction: Reader, all: readonly Epoch[]): void {
    const text = JSON.stringify(all);
    if (readFact(transaction, 'outbox_epochs') !== text) writeFact(transaction, 'outbox_epochs', text);
  }

  return {
    begin() {
      beginning = true;
    },
    opened(transaction, next) {
      // Only added to: the transaction may be undone, and the rows that it deletes come back. Then `next` is the same again.
      if (beginning) epochs = [...epochs, { epoch: newEpoch(epochs), from: next }];
      beginning = false;
      // What was written may have been undone since.
      keep(transaction, epochs);
    },
    presentFrom: () => (beginning ? Number.POSITIVE_INFINITY : (epochs.at(-1)?.from ?? 1)),
    of(row) {
      const { epoch, from, offsetMs } = found(row);
      return { epoch, offsetMs, numberOf: (other) => other - from + 1 };
    },
    clockRead(offsetMs) {
      const present = epochs.at(-1);
      if (beginning || present === undefined) return;
      // Written only when it says something else.
      if (Math.abs((present.offsetMs ?? 0) - offsetMs) < offsetToldMs) return;
      const told = [...epochs.slice(0, -1), { ...present, offsetMs }];
      keep(database, told);
      epochs = told;
    },
    rowOf(of, number) {
      const at = epochs.findIndex(({ epoch }) => epoch === of);
      const from = epochs[at]?.from;
      if (from === undefined) return undefined;
      return Math.min(from + number, epochs[at + 1]?.from ?? Number.POSITIVE_INFINITY) - 1;
    },
  };
}

/** Of disks that agents of before have written: one, which all that they added is of. */
function readEpochs(database: Reader): Epoch[] {
  const text = readFact(database, 'outbox_epochs');
  if (text !== undefined) return parseJson(Stored, text, 'the epochs of the outbox', 'integrity');
  const only = readFact(database, 'outbox_epoch');
  return only === undefined ? [] : [{ epoch: Number(only), from: 1 }];
}

/** Those of which a row waits, and the last: what is folded of former starts is of it. */
function heldIn(reader: Reader, epochs: readonly Epoch[], next: number): Epoch[] {
  const oldest = reader.select({ row: outbox.sequence }).from(outbox).orderBy(asc(outbox.sequence)).limit(1).get();
  return epochs.filter((_, at) => at === epochs.length - 1 || (epochs[at + 1]?.from ?? next) > (oldest?.row ?? next));
}

function newEpoch(known: readonly Epoch[]): number {
  for (;;) {
    const epoch = Math.max(1, Date.now() - randomInt(spreadMs));
    if (!known.some((each) => each.epoch === epoch)) return epoch;
  }
}
