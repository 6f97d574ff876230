// What labels said since the last windows were closed, in sums, on disk with the labels themselves: the next windows carry it.
import { parseJson } from '@edgeloop/shared/errors';
import { LabelledOutcomes, mergeOutcomes, outcomeOf } from '@edgeloop/shared/labelled-outcomes';
import type { Window } from '@edgeloop/shared/telemetry';
import { z } from 'zod';
import { type Reader, readFact, writeFact } from '../database/facts.ts';
import type { DeviceDatabase } from '../database/open.ts';
import type { Outbox } from './outbox.ts';
import { emptyWindow } from './window.ts';

export interface Labelled {
  model: string;
  version: number;
  release: string | null;
  predicted: string;
  label: string;
  /** Both are values rather than names of classes. */
  numeric: boolean;
}

const Open = z.array(
  z.object({ model: z.string(), version: z.number(), release: z.string().optional(), outcomes: LabelledOutcomes }),
);
type Open = z.infer<typeof Open>;

/** Versions that are kept apart; the labels of others travel by themselves only. */
const mostVersions = 64;

/** Adds labels, in the transaction that keeps them. */
export function addOutcomes(transaction: Reader, labels: readonly Labelled[]): void {
  if (labels.length === 0) return;
  const open = readOpen(transaction);
  for (const { predicted, label, numeric, ...of } of labels) {
    const outcome = outcomeOf(predicted, label, numeric);
    const known = open.find((each) => isOf(each, of));
    if (known !== undefined) known.outcomes = mergeOutcomes(known.outcomes, outcome);
    else if (open.length < mostVersions) open.push({ ...releaseOf(of), outcomes: outcome });
  }
  writeFact(transaction, 'labelled_outcomes', JSON.stringify(open));
}

/** The windows with what was open of their versions, and further ones for versions that answered nothing; nothing is open then. */
export function withOutcomes(transaction: Reader, windows: readonly Window[], at: number): Window[] {
  const open = readOpen(transaction);
  if (open.length === 0) return [...windows];
  writeFact(transaction, 'labelled_outcomes', '[]');
  const told = [...windows];
  for (const { outcomes, ...of } of open) {
    const place = told.findIndex((window) => window.shadow === undefined && isOf(window, of));
    const window = told[place] ?? emptyWindow(of, at);
    told.splice(place < 0 ? told.length : place, 1, { ...window, labelled: outcomes });
  }
  return told;
}

/** The same where no window closed: labels may come when nothing is asked any more. */
export function tellRest(database: DeviceDatabase, outbox: Pick<Outbox, 'add'>, at: number): void {
  if (readOpen(database).length === 0) return;
  database.transaction((transaction) => outbox.add(transaction, withOutcomes(transaction, [], at)), {
    behavior: 'immediate',
  });
}

interface Of {
  model: string;
  version: number;
  release?: string | null | undefined;
}

function isOf(a: Of, b: Of): boolean {
  return a.model === b.model && a.version === b.version && (a.release ?? null) === (b.release ?? null);
}

function releaseOf({ model, version, release }: Of): Omit<Open[number], 'outcomes'> {
  return { model, version, ...(release == null ? {} : { release }) };
}

function readOpen(reader: Reader): Open {
  const text = readFact(reader, 'labelled_outcomes');
  return text === undefined ? [] : parseJson(Open, text, 'outcomes of labels', 'integrity');
}
