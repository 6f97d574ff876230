// What telemetry was given up before the control plane had it: how many, of which kind and why, ever on this disk.
import { parseJson } from '@edgeloop/shared/errors';
import { z } from 'zod';
import { type Reader, readCount, readFact, writeFact } from '../database/facts.ts';

type LostKind = 'window' | 'request' | 'label' | 'sample';

/** `budget`: over EDGELOOP_BUFFER_MB or EDGELOOP_CAPTURE_MB. `disk`: there was no room. `refused`: by the control plane. */
type LostReason = 'budget' | 'age' | 'disk' | 'refused';

export interface Lost {
  kind: LostKind;
  reason: LostReason;
  count: number;
}

/** All that can happen: a count that stands at 0 can be watched. */
const kinds: readonly (readonly [LostKind, LostReason])[] = [
  ['window', 'budget'],
  ['window', 'age'],
  ['request', 'budget'],
  ['request', 'age'],
  ['request', 'disk'],
  ['label', 'budget'],
  ['label', 'age'],
  ['sample', 'budget'],
  ['sample', 'disk'],
  ['sample', 'refused'],
];

const Kept = z.record(z.string(), z.number().int().min(0));

/** In the transaction that gives them up. */
export function countGivenUp(transaction: Reader, lost: readonly Lost[]): void {
  const some = lost.filter(({ count }) => count > 0);
  if (some.length === 0) return;
  const kept = readKept(transaction);
  for (const { kind, reason, count } of some) {
    const key = `${kind} ${reason}`;
    kept[key] = (kept[key] ?? 0) + count;
  }
  writeFact(transaction, 'given_up', JSON.stringify(kept));
}

/** `unjournalled`: requests that no journal has, which are counted elsewhere. */
export function readGivenUp(reader: Reader, unjournalled: number): Lost[] {
  const kept = readKept(reader);
  // As agents of before have counted them.
  const samples = readCount(reader, 'samples_dropped');
  return kinds.map(([kind, reason]) => {
    const elsewhere =
      kind === 'request' && reason === 'disk' ? unjournalled : kind === 'sample' && reason === 'budget' ? samples : 0;
    return { kind, reason, count: (kept[`${kind} ${reason}`] ?? 0) + elsewhere };
  });
}

function readKept(reader: Reader): z.infer<typeof Kept> {
  const text = readFact(reader, 'given_up');
  return text === undefined ? {} : parseJson(Kept, text, 'what was given up', 'integrity');
}
