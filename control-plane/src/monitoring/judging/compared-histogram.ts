// The bins of a signal side by side: in the reference, and in what was judged.
import type { ComparedHistogram } from '@edgeloop/shared/api/alerts';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import { type Histogram, mergeHistogram } from '@edgeloop/shared/sketches/histogram';
import { type Observed, outputSignals } from '../statistics/drift.ts';

/** Undefined when it cannot be drawn: one side has none of it, or other bins. */
export function comparedHistogram(
  signal: string,
  reference: ReferenceProfile,
  seen: Observed,
): ComparedHistogram | undefined {
  if (signal === outputSignals.classes) return ofClasses(reference.classes?.counts ?? {}, seen.classes);
  const isConfidence = signal === outputSignals.confidence;
  const profile = isConfidence ? reference.confidence : reference.features[signal];
  const after = (isConfidence ? seen.confidence : seen.features[signal])?.counts;
  if (profile === undefined || after === undefined || after.length !== profile.counts.length) return undefined;
  return { edges: [...profile.edges], before: [...profile.counts], after: [...after] };
}

const drawnClasses = 50;

function ofClasses(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): ComparedHistogram {
  const of = (counts: Readonly<Record<string, number>>, name: string) => counts[name] ?? 0;
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .sort((a, b) => of(before, b) + of(after, b) - of(before, a) - of(after, a))
    .slice(0, drawnClasses);
  return { names, before: names.map((name) => of(before, name)), after: names.map((name) => of(after, name)) };
}

/** What several devices saw, together. */
export function mergedObserved(parts: readonly Observed[]): Observed {
  const features: Record<string, Histogram> = {};
  const classes: Record<string, number> = {};
  let confidence: Histogram | undefined;
  for (const part of parts) {
    for (const [name, histogram] of Object.entries(part.features)) features[name] = sumOf(features[name], histogram);
    for (const [name, count] of Object.entries(part.classes)) classes[name] = (classes[name] ?? 0) + count;
    if (part.confidence !== undefined) confidence = sumOf(confidence, part.confidence);
  }
  return { features, confidence, classes };
}

function sumOf(sum: Histogram | undefined, other: Histogram): Histogram {
  if (sum === undefined) return structuredClone(other);
  if (sum.counts.length === other.counts.length) mergeHistogram(sum, other);
  return sum;
}
