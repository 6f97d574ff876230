// A reference made of what devices saw: the sums of consecutive windows, and how much these windows differ from each other. Pure.
import type { CategoryProfile, NumericProfile, ReferenceProfile } from '@edgeloop/shared/profile';
import { psi } from '@edgeloop/shared/sketches/psi';
import { blocksOf, categoryScores, numericScores } from '@edgeloop/shared/sketches/scores';
import { pairedCounts, valuesIn } from '@edgeloop/shared/sketches/value-sketch';
import { WindowPartsSum } from '@edgeloop/shared/window-parts';
import { total } from '../statistics/bins.ts';
import type { Observed } from '../statistics/drift.ts';

/** Where the bins of windows lie, of signals whose windows do not say it themselves. */
export interface Edges {
  features: Readonly<Record<string, readonly number[]>>;
  confidence: readonly number[] | undefined;
}

/** Classes named in a reference; the others would be a class each time. */
const mostClasses = 1000;

/** Undefined when the windows, in the order of time, have nothing that could be compared. */
export function profileOfField(windows: readonly Observed[], edges: Edges): ReferenceProfile | undefined {
  const features: Record<string, NumericProfile> = {};
  for (const [name, own] of Object.entries(edges.features)) {
    const profile = numericOf(
      own,
      countsOf(windows, ({ features: seen }) => seen[name]?.counts),
    );
    if (profile !== undefined) features[name] = profile;
  }
  const scores = countsOf(windows, ({ confidence }) => confidence?.counts);
  const confidence = edges.confidence && numericOf(edges.confidence, scores);
  const classes = classesOf(windows.map((window) => window.classes));
  const { signals, categories } = partsOf(windows);
  const sizes = [
    ...[...Object.values(features), confidence, classes].map((part) => total(Object.values(part?.counts ?? {}))),
    ...Object.values(signals).map(({ sketch }) => valuesIn(sketch) + sketch.missing),
    ...Object.values(categories).map(({ counts, other }) => total(Object.values(counts)) + other),
  ];
  const rows = Math.max(0, ...sizes);
  if (rows === 0) return undefined;
  return { rows, features, signals, categories, ...(confidence && { confidence }), ...(classes && { classes }) };
}

/** Of signals whose windows find their own bins. */
function partsOf(windows: readonly Observed[]): Required<Pick<ReferenceProfile, 'signals' | 'categories'>> {
  const builder = new WindowPartsSum();
  for (const { signals, categories } of windows) builder.add({ signals, categories });
  const { signals = {}, categories = {} } = builder.result();
  return {
    signals: Object.fromEntries(
      Object.entries(signals).map(([name, sketch]) => {
        const [counts] = pairedCounts(sketch, sketch);
        // The whole has every bin that a window has, so that all are of one length.
        const pieces = windows.flatMap(({ signals: seen }) => {
          const own = seen?.[name];
          return own === undefined ? [] : [pairedCounts(sketch, own)[1]];
        });
        return [name, { sketch, ...movement(counts, pieces, numericScores(counts)) }];
      }),
    ),
    categories,
  };
}

function countsOf(
  windows: readonly Observed[],
  of: (window: Observed) => readonly number[] | undefined,
): (readonly number[])[] {
  return windows.flatMap((window) => {
    const counts = of(window);
    return counts === undefined || total(counts) === 0 ? [] : [counts];
  });
}

function numericOf(edges: readonly number[], pieces: readonly (readonly number[])[]): NumericProfile | undefined {
  const fitting = pieces.filter(({ length }) => length === edges.length + 2);
  if (fitting.length === 0) return undefined;
  const counts = sumOf(fitting, edges.length + 2);
  return { edges: [...edges], counts, ...movement(counts, fitting, numericScores(counts)) };
}

function classesOf(windows: readonly Readonly<Record<string, number>>[]): CategoryProfile | undefined {
  const names = [...new Set(windows.flatMap((classes) => Object.keys(classes)))].sort().slice(0, mostClasses);
  const pieces = windows.map((classes) => names.map((name) => classes[name] ?? 0)).filter((piece) => total(piece) > 0);
  if (pieces.length === 0) return undefined;
  const sums = sumOf(pieces, names.length);
  const counts = Object.fromEntries(names.map((name, i) => [name, sums[i] ?? 0]));
  return { counts, ...movement(sums, pieces, categoryScores(counts, names)) };
}

function sumOf(pieces: readonly (readonly number[])[], length: number): number[] {
  const sum = new Array<number>(length).fill(0);
  for (const piece of pieces) for (const [bin, count] of piece.entries()) sum[bin] = (sum[bin] ?? 0) + count;
  return sum;
}

function movement(
  whole: readonly number[],
  pieces: readonly (readonly number[])[],
  scores: Parameters<typeof blocksOf>[0],
): Pick<NumericProfile, 'blockPsi' | 'blocks'> {
  if (pieces.length < 2) return {};
  const stabilities = pieces.map((piece) => psi(whole, piece));
  const mean = total(stabilities) / pieces.length;
  const variance = total(stabilities.map((value) => (value - mean) ** 2)) / (pieces.length - 1);
  const blockSize = Math.max(1, Math.round(total(whole) / pieces.length));
  const blocks = blocksOf(scores, pieces);
  const blockPsi = { mean: Math.max(0, mean), deviation: Math.sqrt(variance), blockSize };
  return { blockPsi, ...(blocks.length > 0 && { blocks }) };
}
