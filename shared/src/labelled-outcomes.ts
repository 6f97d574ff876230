// What labels say of earlier answers, in sums: how often which class was taken for which, and by how much values were off.
import { z } from 'zod';

const Count = z.number().int().min(0);

/** Pairs of answer and truth that are counted by name. */
const mostPairs = 256;

/** `confusion`: by the answer, then by the truth. `errors`: of values. */
export const LabelledOutcomes = z.object({
  labels: Count,
  correct: Count,
  confusion: z.record(z.string(), z.record(z.string(), Count)).default({}),
  /** Of pairs that are not among the most frequent. */
  other: Count.default(0),
  errors: z.object({ count: Count, sum: z.number(), absolute: z.number(), squared: z.number() }).optional(),
});
export type LabelledOutcomes = z.infer<typeof LabelledOutcomes>;

/** `numeric`: both are values, else both are names of classes. */
export function outcomeOf(predicted: string, label: string, numeric: boolean): LabelledOutcomes {
  const base = { labels: 1, correct: Number(predicted === label), confusion: {}, other: 0 };
  // An object that is read from JSON has no place for the one name.
  if (!numeric && [predicted, label].includes('__proto__')) return { ...base, other: 1 };
  if (!numeric) return { ...base, confusion: { [predicted]: { [label]: 1 } } };
  const error = Number(predicted) - Number(label);
  return { ...base, errors: { count: 1, sum: error, absolute: Math.abs(error), squared: error ** 2 } };
}

export function mergeOutcomes(a: LabelledOutcomes, b: LabelledOutcomes): LabelledOutcomes {
  const pairs = new Map<string, { predicted: string; label: string; count: number }>();
  for (const { confusion } of [a, b])
    for (const [predicted, truths] of Object.entries(confusion))
      for (const [label, count] of Object.entries(truths)) {
        const key = JSON.stringify([predicted, label]);
        pairs.set(key, { predicted, label, count: (pairs.get(key)?.count ?? 0) + count });
      }
  const sorted = [...pairs].sort(([p, m], [q, n]) => n.count - m.count || (p < q ? -1 : 1)).map(([, pair]) => pair);
  const rest = sorted.slice(mostPairs).reduce((sum, { count }) => sum + count, 0);
  const errors = mergeErrors(a.errors, b.errors);
  return {
    labels: a.labels + b.labels,
    correct: a.correct + b.correct,
    confusion: confusionOf(sorted.slice(0, mostPairs)),
    other: a.other + b.other + rest,
    ...(errors === undefined ? {} : { errors }),
  };
}

function confusionOf(pairs: readonly { predicted: string; label: string; count: number }[]) {
  const rows = new Map<string, [string, number][]>();
  for (const { predicted, label, count } of pairs)
    rows.set(predicted, [...(rows.get(predicted) ?? []), [label, count]]);
  return Object.fromEntries([...rows].map(([predicted, truths]) => [predicted, Object.fromEntries(truths)]));
}

type Errors = LabelledOutcomes['errors'];

function mergeErrors(a: Errors, b: Errors): Errors {
  if (a === undefined || b === undefined) return a ?? b;
  return {
    count: a.count + b.count,
    sum: a.sum + b.sum,
    absolute: a.absolute + b.absolute,
    squared: a.squared + b.squared,
  };
}
