// Compares one signal (a feature, the confidence, the predicted classes) with its reference by several tests at once, each with a
// share of the level:
//  - mean scores of location, spread and shape, or of each class (`shared/sketches/scores.ts`), each a normal variable whose
//    variance knows how autocorrelated the signal is (effects.ts): most of the power of small samples lies there, where a
//    chi-square test over many bins spreads it thin (Eubank and LaRiccia, "Asymptotic comparison of Cramér-von Mises and
//    nonparametric function estimation techniques for testing goodness-of-fit", Annals of Statistics 20, 1992);
//  - the population stability index over about n^0.4 bins, which follows chi-square without drift (Yurdakul and Naranjo,
//    "Statistical properties of the population stability index", Journal of Risk Model Validation 14 (4), 2020), for all else;
//  - what is missing, exactly while it is little.
import type { CategoryProfile, NumericProfile, SketchProfile } from '@edgeloop/shared/profile';
import type { CategoryCounts } from '@edgeloop/shared/sketches/category-counts';
import { psi } from '@edgeloop/shared/sketches/psi';
import { categoryScores, meanScore, numericScores, type Score, scoredNames } from '@edgeloop/shared/sketches/scores';
import { pairedCounts, type ValueSketch } from '@edgeloop/shared/sketches/value-sketch';
import { mergeNeighbours, mergeRareCategories, type PairedCounts, total } from './bins.ts';
import { type BlockMovement, blockBound, blockTail, movementOf } from './blocks.ts';
import { burstOf, type Movement, type MovementOfScore, movementOfScore } from './effects.ts';
import {
  binomialTail,
  bothTails,
  boundOfBothTails,
  boundOfStudentTails,
  normalQuantile,
  scaledChiSquareTail,
  studentTails,
} from './normal.ts';

/** How a signal differs, in words for people. */
type Change = string;

/** One signal compared with its reference. */
export interface Measure {
  name: string;
  samples: number;
  psi: number;
  /** Probability of a difference this large without drift, all tests together. */
  p: number;
  /** What the strongest test saw. */
  change: Change;
  /** How far the window's mean scores lie from those of the reference, in deviations of one row. */
  scores: readonly number[];
  /** The smallest change that nine of ten windows of this size show at a level; undefined when the largest is not enough. */
  visibleAt: (level: number) => number | undefined;
}

/** A test of one kind of difference, with its share of the level; the shares of tests that a signal has not go to the others. */
interface Part {
  share: number;
  p: number;
  change: Change;
}

interface Scored extends Movement {
  share: number;
  difference: number;
  change: Change;
}

const ofOtherValues = 'of other values';
const shapeShares = [0.4, 0.2, 0.1, 0.1];
const binsShare = 0.1;
const missingShare = 0.1;
const unseenShare = 0.1;
const classesShare = 0.8;
/** A change counts as visible when so many windows show it. */
const power = 0.9;
/** A signal whose own movement needs a PSI above this has lost nearly all overlap before it could be told apart. */
const noPower = 2;
const shapeWords = [
  ['higher', 'lower'],
  ['wider', 'narrower'],
  ['of another shape', 'of another shape'],
  ['of another shape', 'of another shape'],
] as const;

/** What a numeric signal is compared with: counts by bin in the order of the values, the last of what is missing. */
type Counted = Pick<NumericProfile, 'counts' | 'blockPsi' | 'blocks'>;

/** Undefined when the window has none of it, or counted into other bins. */
export function measureNumeric(
  name: string,
  profile: Counted,
  counts: readonly number[] | undefined,
): Measure | undefined {
  if (counts === undefined || counts.length !== profile.counts.length) return undefined;
  const sizes = { samples: total(counts), reference: total(profile.counts) };
  if (sizes.samples === 0 || sizes.reference === 0) return undefined;
  const known = scoresOf(profile.counts);
  const bins = binsTest(
    { reference: profile.counts, window: [...counts] },
    ownMovement(profile, known.length, sizes),
    mergeNeighbours,
  );
  // A profile of former times knows of its movement as a whole only: mean scores cannot be told from it.
  const usable = profile.blockPsi === undefined || profile.blocks !== undefined ? known : [];
  const scored = usable.flatMap((score, at) => {
    const share = shapeShares[at];
    if (isOfMissing(score, counts) || share === undefined) return [];
    const [more, less] = shapeWords[at] ?? shapeWords[2];
    const found = scoreTest(score, counts, movementOfScore(profile.blocks, at, sizes.reference));
    return found === undefined ? [] : [{ ...found, share, change: found.difference > 0 ? more : less }];
  });
  const rare = rareTests(profile, counts, known);
  const parts: Part[] = [...scored.map(partOf), { ...bins, share: binsShare }, ...rare];
  return {
    ...summary(name, sizes.samples, parts, Math.max(bins.psi, psiOfUnseen(profile, counts))),
    scores: [...differences(known, counts), missingSteps(profile, counts)],
    visibleAt,
  };

  function visibleAt(level: number): number | undefined {
    const [location] = scored;
    if (location === undefined) return visibleByBins(bins, sizes.samples);
    const needed = neededMean(location, level, mostRank);
    // Mean rank of a normal value that lies d deviations higher: sqrt(12) (Phi(d / sqrt 2) - 1/2).
    return needed === undefined ? undefined : Math.SQRT2 * normalQuantile(0.5 + needed / Math.sqrt(12));
  }
}

/** Of references in use: each device and window is compared with the same one. */
const scoresByCounts = new WeakMap<readonly number[], Score[]>();

function scoresOf(counts: readonly number[]): Score[] {
  const scores = scoresByCounts.get(counts) ?? numericScores(counts);
  scoresByCounts.set(counts, scores);
  return scores;
}

/** Both in the bins of the coarser one. */
export function measureSketch(
  name: string,
  { sketch, ...movement }: SketchProfile,
  seen: ValueSketch | undefined,
): Measure | undefined {
  if (seen === undefined) return undefined;
  const [counts, window] = pairedCounts(sketch, seen);
  return measureNumeric(name, { counts, ...movement }, window);
}

/** What the reference does not name is one category on both sides. */
export function measureCategories(
  name: string,
  reference: CategoryCounts,
  seen: CategoryCounts | undefined,
): Measure | undefined {
  if (seen === undefined) return undefined;
  const known = new Set(Object.keys(reference.counts));
  return measureClasses(name, { counts: namedOrOther(reference, known) }, namedOrOther(seen, known));
}

/** No name of a category is empty. */
const unnamed = '';

function namedOrOther({ counts, other }: CategoryCounts, known: ReadonlySet<string>): Record<string, number> {
  const named: Record<string, number> = {};
  let rest = other;
  for (const [name, count] of Object.entries(counts)) {
    if (known.has(name)) named[name] = count;
    else rest += count;
  }
  return rest === 0 ? named : { ...named, [unnamed]: rest };
}

export function measureClasses(
  name: string,
  profile: CategoryProfile,
  counts: Readonly<Record<string, number>>,
): Measure | undefined {
  const names = [...new Set([...Object.keys(profile.counts), ...Object.keys(counts)])];
  const pair = {
    reference: names.map((each) => profile.counts[each] ?? 0),
    window: names.map((each) => counts[each] ?? 0),
  };
  const sizes = { samples: total(pair.window), reference: total(pair.reference) };
  if (sizes.samples === 0 || sizes.reference === 0) return undefined;
  const scores = categoryScores(profile.counts, names);
  const bins = binsTest(pair, ownMovement(profile, scores.length, sizes), (_, most) =>
    mergeRareCategories(profile.counts, counts, most),
  );
  const words = scoredNames(profile.counts);
  const scored = scores.flatMap((score, at) => {
    const found = scoreTest(score, pair.window, movementOfScore(profile.blocks, at, sizes.reference));
    if (found === undefined) return [];
    const change = `"${words[at] ?? ''}" ${found.difference > 0 ? 'more' : 'less'} often`;
    return [{ ...found, change, share: classesShare / scores.length }];
  });
  const parts = [...scored.map(partOf), { ...bins, share: 1 - classesShare }];
  return { ...summary(name, sizes.samples, parts, bins.psi), scores: differences(scores, pair.window), visibleAt };

  /** Of the most frequent class, in shares. */
  function visibleAt(level: number): number | undefined {
    const [first] = scored;
    const share = (profile.counts[words[0] ?? ''] ?? 0) / sizes.reference;
    if (first === undefined) return visibleByBins(bins, sizes.samples);
    const deviation = Math.sqrt(share * (1 - share));
    const needed = neededMean(first, level, Math.max(share, 1 - share) / deviation);
    return needed === undefined ? undefined : needed * deviation;
  }
}

/** The level that `p` of a measure must fall below is reached by a PSI of this, were the change of the same kind. */
export function psiAtLevel({ psi: seen, p }: Measure, level: number): number {
  const reached = boundOfBothTails(p);
  return reached === 0 ? Number.MAX_VALUE : seen * (boundOfBothTails(level) / reached) ** 2;
}

/** From here on a test that can say how a signal changed speaks for it, though bins compared one by one may be surer. */
const sure = 0.001;

function summary(name: string, samples: number, parts: readonly Part[], value: number) {
  const shares = parts.reduce((sum, { share }) => sum + share, 0);
  const weighted = parts.map(({ share, p, change }) => ({ p: Math.min(1, (p * shares) / share), change }));
  const [strongest, ...others] = weighted.sort((a, b) => a.p - b.p);
  if (strongest === undefined) throw new Error(`no test was made of the signal "${name}"`);
  const telling = [strongest, ...others].find(({ p, change }) => p <= sure && change !== ofOtherValues) ?? strongest;
  return { name, samples, psi: value, p: strongest.p, change: telling.change };
}

function scoreTest(score: Score, counts: readonly number[], movement: MovementOfScore) {
  const { mean, count } = meanScore(score, counts);
  // The reference's own mean is 0.
  return count === 0 ? undefined : { difference: mean, ...movement(count) };
}

function partOf({ share, difference, variance, degrees, change }: Scored): Part {
  return { share, change, p: studentTails(difference / Math.sqrt(variance), degrees) };
}

/** Mean score of values that are all as far out as any. */
const mostRank = Math.sqrt(3);
/** A change this near to the largest one that there is counts as none that could be seen. */
const nearest = 0.98;

/** Undefined when not even the largest change shows. The nearer a mean is to the largest, the less it moves. */
function neededMean({ share, variance, degrees }: Scored, level: number, largest: number): number | undefined {
  const bound = boundOfStudentTails(level * share, degrees) * Math.sqrt(variance);
  if (bound >= nearest * largest) return undefined;
  let needed = bound;
  for (let i = 0; i < 20; i++) {
    const left = Math.sqrt(Math.max(0, 1 - (needed / largest) ** 2));
    needed = (needed + Math.min(nearest * largest, bound + normalQuantile(power) * Math.sqrt(variance) * left)) / 2;
  }
  return needed;
}

function differences(scores: readonly Score[], counts: readonly number[]): number[] {
  return scores.map((score) => meanScore(score, counts).mean);
}

/** Of what is missing, a tenth of all counts as one deviation: a sensor that gives nothing has no other scores. */
function missingSteps(profile: Counted, counts: readonly number[]): number {
  const shareOf = (of: readonly number[]) => (of.at(-1) ?? 0) / total(of);
  return 10 * (shareOf(counts) - shareOf(profile.counts));
}

function isOfMissing(score: Score, counts: readonly number[]): boolean {
  return score.length === counts.length;
}

/** Fewer counts than this are tested exactly. */
const enoughCounts = 10;

/** Values that are missing, and those in bins that the reference never used: each counted among all. */
function rareTests(profile: Counted, counts: readonly number[], scores: readonly Score[]): Part[] {
  const last = counts.length - 1;
  const atMissing = scores.findIndex((score) => isOfMissing(score, counts));
  const [samples, size] = [total(counts), total(profile.counts)];
  const { variance } = movementOfScore(atMissing < 0 ? undefined : profile.blocks, atMissing, size)(samples);
  const missing = { seen: counts[last] ?? 0, expected: profile.counts[last] ?? 0 };
  const unseen = counts.reduce((sum, count, bin) => sum + (bin < last && profile.counts[bin] === 0 ? count : 0), 0);
  const more = missing.seen / samples > missing.expected / size;
  const parts: Part[] = [];
  if (missing.seen + missing.expected > 0)
    parts.push({
      ...{ share: missingShare, change: more ? 'more often missing' : 'less often missing' },
      p: rareTail({ ...missing, samples, size, worth: (1 / samples + 1 / size) / variance }),
    });
  if (unseen > 0)
    parts.push({
      share: unseenShare,
      change: ofOtherValues,
      p: rareTail({ seen: unseen, expected: 0, samples, size, worth: 1 / burstOf(profile.blocks, samples) }),
    });
  return parts;
}

/** Bins that the reference never used are too thin to compare in a small window, and yet all values may lie there. */
function psiOfUnseen({ counts: reference }: Counted, counts: readonly number[]): number {
  const unseen = counts.reduce((sum, count, bin) => sum + (reference[bin] === 0 ? count : 0), 0);
  return unseen === 0 ? 0 : psi([total(reference), 0], [total(counts) - unseen, unseen]);
}

interface Rare {
  seen: number;
  expected: number;
  samples: number;
  /** Rows of the reference. */
  size: number;
  /** What one of them counts, where they come in bursts. */
  worth: number;
}

function rareTail({ seen, expected, samples, size, worth }: Rare): number {
  const share = samples / (samples + size);
  if (Math.min(share, 1 - share) * (seen + expected) * worth < enoughCounts) {
    const [window, all] = [seen * worth, (seen + expected) * worth];
    const tail = Math.min(binomialTail(window, all, share), binomialTail(all - window, all, 1 - share));
    return Math.min(1, 2 * tail);
  }
  const pooled = (seen + expected) / (samples + size);
  const variance = (pooled * (1 - pooled) * (1 / samples + 1 / size)) / worth;
  return pooled >= 1 ? 1 : bothTails((seen / samples - expected / size) / Math.sqrt(variance));
}

interface BinsTest {
  psi: number;
  p: number;
  change: Change;
  degrees: number;
  movement: BlockMovement | undefined;
}

interface OwnMovement {
  movement: BlockMovement | undefined;
  /** How many times more the mean scores vary than those of independent rows, at most, and how well that is known. */
  inflation: number;
  unitDegrees: number;
}

/** From the mean scores where they are known: the PSI of short blocks has too few counts in a bin to tell. */
function ownMovement(
  profile: Pick<NumericProfile | CategoryProfile, 'counts' | 'blockPsi' | 'blocks'>,
  scores: number,
  { samples, reference }: { samples: number; reference: number },
): OwnMovement {
  if (profile.blocks === undefined)
    return { movement: movementOf(profile), inflation: 1, unitDegrees: Number.POSITIVE_INFINITY };
  const chance = 1 / samples + 1 / reference;
  const each = Array.from({ length: scores }, (_, at) => movementOfScore(profile.blocks, at, reference)(samples));
  return {
    movement: undefined,
    inflation: Math.max(1, ...each.map(({ variance }) => variance / chance)),
    unitDegrees: Math.min(...each.map(({ degrees: known }) => known)),
  };
}

function binsTest(
  pair: PairedCounts,
  { movement, inflation, unitDegrees }: OwnMovement,
  merge: (pair: PairedCounts, most: number) => PairedCounts,
): BinsTest {
  const [samples, size] = [total(pair.window), total(pair.reference)];
  const merged = merge(pair, Math.max(2, Math.floor(Math.min(samples, size) ** 0.4)));
  const value = psi(merged.reference, merged.window);
  const degrees = merged.reference.length - 1;
  // One bin: the signal is constant on both sides.
  const units = value / ((1 / samples + 1 / size) * inflation);
  const chance = degrees === 0 ? 1 : scaledChiSquareTail(units, degrees, unitDegrees);
  const own = movement === undefined ? 0 : blockTail(movement, { psi: value, samples, degrees });
  return { psi: value, p: Math.max(chance, own), change: ofOtherValues, degrees, movement };
}

/** By the PSI of a normal value that lies d deviations higher: d squared. */
function visibleByBins({ degrees, movement }: BinsTest, samples: number): number | undefined {
  const bound = movement === undefined ? 0 : blockBound(movement, { samples, degrees, deviations: 3 });
  return bound <= noPower ? Math.sqrt(bound) : undefined;
}
