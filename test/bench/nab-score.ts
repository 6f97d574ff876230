// The score of the Numenta Anomaly Benchmark, standard profile: what is found early in a window counts most, what is said
// outside one costs, and one threshold holds for all series (Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms -
// the Numenta Anomaly Benchmark", ICMLA 2015).

/** First and last place of a labelled window. */
export type LabelledWindow = readonly [first: number, last: number];

export interface ScoredSeries {
  name: string;
  /** How anomalous the detector says each value is. */
  scores: readonly number[];
  windows: readonly LabelledWindow[];
}

export interface NabScore {
  /** 0: as one that says nothing; 100: every window found at its first value and nothing else said. */
  score: number;
  threshold: number;
  series: { name: string; score: number; found: number; windows: number; falseAlarms: number }[];
}

const falseAlarmWeight = 0.11;
/** A detector learns for this share of a series, of at most 5000 values. */
const probation = { share: 0.15, atMost: 750 };

function sigmoid(position: number): number {
  return position > 3 ? -1 : 2 / (1 + Math.exp(5 * position)) - 1;
}

interface Said {
  score: number;
  /** What it is worth to say so here. */
  worth: number;
  series: number;
  /** Undefined: outside of all windows. */
  window: number | undefined;
}

/** With the threshold that gives the highest score, as the benchmark chooses it for every detector. */
export function nabScore(all: readonly ScoredSeries[]): NabScore {
  const said = all.flatMap((each, index) => saidOf(each, index)).sort((a, b) => b.score - a.score);
  const tally = createTally(all);
  let best = { total: tally.total(), through: 0 };
  for (let i = 0; i < said.length; i++) {
    const each = said[i];
    if (each !== undefined) tally.add(each);
    const isLastOfScore = said[i + 1]?.score !== each?.score;
    if (isLastOfScore && tally.total() > best.total) best = { total: tally.total(), through: i + 1 };
  }
  const chosen = createTally(all);
  for (const each of said.slice(0, best.through)) chosen.add(each);
  const windows = all.reduce((sum, each) => sum + each.windows.length, 0);
  const threshold = said[best.through - 1]?.score ?? Number.POSITIVE_INFINITY;
  return { score: normal(best.total, windows), threshold, series: chosen.series() };
}

function normal(total: number, windows: number): number {
  return (100 * (total + windows)) / (2 * windows);
}

function createTally(all: readonly ScoredSeries[]) {
  const parts = all.map((each) => ({
    falseAlarms: 0,
    cost: 0,
    // What is not found costs one.
    windows: each.windows.map(() => -1),
  }));
  const sumOf = ({ cost, windows }: (typeof parts)[number]) => windows.reduce((sum, each) => sum + each, cost);
  let total = parts.reduce((sum, each) => sum + sumOf(each), 0);
  return {
    total: () => total,
    add({ worth, series, window }: Said): void {
      const part = parts[series];
      if (part === undefined) return;
      total -= sumOf(part);
      if (window === undefined) {
        part.cost += worth;
        part.falseAlarms += 1;
      } else part.windows[window] = Math.max(part.windows[window] ?? -1, worth);
      total += sumOf(part);
    },
    series: (): NabScore['series'] =>
      parts.map((part, i) => ({
        name: all[i]?.name ?? '',
        score: normal(sumOf(part), part.windows.length),
        found: part.windows.filter((each) => each > -1).length,
        windows: part.windows.length,
        falseAlarms: part.falseAlarms,
      })),
  };
}

function saidOf({ scores, windows }: ScoredSeries, series: number): Said[] {
  const begin = Math.min(Math.floor(probation.share * scores.length), probation.atMost);
  return scores
    .map((score, at) => ({ score, series, ...worthAt(windows, at) }))
    .slice(begin)
    .filter(({ score }) => score > 0);
}

function worthAt(windows: readonly LabelledWindow[], at: number): Pick<Said, 'worth' | 'window'> {
  const within = windows.findIndex(([first, last]) => first <= at && at <= last);
  if (within >= 0) {
    const [first, last] = windows[within] ?? [0, 0];
    const worth = sigmoid(-(last - at + 1) / (last - first + 1)) / sigmoid(-1);
    return { worth, window: within };
  }
  const before = windows.findLast(([, last]) => last < at);
  if (before === undefined) return { worth: -falseAlarmWeight, window: undefined };
  const [first, last] = before;
  return { worth: falseAlarmWeight * sigmoid((at - last) / (last - first)), window: undefined };
}
