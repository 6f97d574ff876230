// The drift gate: whether the share of any predicted class moved by more than allowed. Each class is a rate of its own, and
// the false alarms are divided among them (Bonferroni), so that the alarm names the class.
import type { GateNumbers } from '@edgeloop/shared/api/gates';
import { compareRates, type RateComparison } from './comparison.ts';
import type { DeviceCounts } from './counts.ts';
import { type Arm, baselineOf, type FieldEvidence, type Scope } from './evidence.ts';
import { besideOf, type GateOutcome, percent, points, whereOf } from './outcome.ts';

type Predictions = Arm['classes'];

interface Shift extends RateComparison {
  name: string;
  /** How far the share moved, either way. */
  moved: number;
}

/** Classes that are told apart; the rest counts as one. */
const mostClasses = 30;

export function classShift(
  { fresh, rest, over }: Scope,
  { lastPeriod, ...field }: Pick<FieldEvidence, 'lastPeriod' | 'restRuns' | 'sameDevices'>,
  { maxShift, minimum, alpha }: { maxShift: number; minimum: number; alpha: number },
): GateOutcome {
  const arms = { ...field, rest: rest.classes, lastPeriod: lastPeriod.classes };
  const baseline = baselineOf(arms, { minimum, count: predictions });
  const evidence = predictions(fresh.classes);
  const baselineEvidence = predictions(baseline.of);
  const shifts = shiftsOf(fresh.classes, baseline.of, { margin: maxShift, alpha });
  const [most] = shifts;
  const failed = shifts.find(({ exceeded }) => exceeded);
  const shown = failed ?? most;
  const numbers: GateNumbers = {
    ...{ over, comparedWith: baseline.kind === 'none' ? 'nothing' : baseline.kind },
    ...{ value: shown?.value ?? null, baseline: shown?.baseline ?? null, effect: shown?.effect ?? null },
    ...{ low: shown?.interval.low ?? null, high: shown?.interval.high ?? null, bound: maxShift, alpha, minimum },
    ...{ evidence, devices: answering(fresh.classes), baselineEvidence, baselineDevices: answering(baseline.of) },
    ...{ correlation: shown?.correlation ?? null, detectable: shown?.detectable ?? null },
  };
  if (baseline.kind === 'none')
    return {
      verdict: 'inconclusive',
      blocking: false,
      detail: `${baseline.why}, or none that predicts classes`,
      numbers,
    };
  const beside = besideOf(baseline);
  if (failed !== undefined) return { verdict: 'fail', detail: sentence(failed), numbers };
  if (evidence < minimum || baselineEvidence < minimum || shown === undefined) {
    if (minimum === 0) return { verdict: 'pass', detail: 'no predictions seen, none asked for', numbers };
    const detail = `${evidence} predictions seen ${whereOf(over)} and ${baselineEvidence} ${beside}, ${minimum} needed`;
    return { verdict: 'inconclusive', detail, numbers };
  }
  if (shown.moved <= maxShift) return { verdict: 'pass', detail: sentence(shown), numbers };
  return { verdict: 'inconclusive', detail: `${sentence(shown)}; too few to tell whether that is chance`, numbers };

  function sentence({ name, value, baseline: before, moved }: Shift): string {
    return `class "${name}" has ${percent(value ?? 0)} of ${evidence} predictions ${whereOf(over)} and ${percent(before ?? 0)} of ${baselineEvidence} ${beside}: moved by ${points(moved)}, allowed are ${points(maxShift)}`;
  }
}

/** Every class, the one that moved most first. */
function shiftsOf(
  fresh: Predictions,
  former: Predictions,
  { margin, alpha }: { margin: number; alpha: number },
): Shift[] {
  const names = commonest([...fresh, ...former]);
  const each = { margin, alpha: alpha / Math.max(1, names.length) };
  const shifts = names.map((name): Shift => {
    const counts = { fresh: countsOf(fresh, name, names), former: countsOf(former, name, names) };
    const up = compareRates(counts, each);
    const down = compareRates({ fresh: counts.former, former: counts.fresh }, each);
    const shownName = name === others ? 'all others' : name;
    return { ...up, name: shownName, exceeded: up.exceeded || down.exceeded, moved: Math.abs(up.effect ?? 0) };
  });
  return shifts.sort((a, b) => b.moved - a.moved);
}

/** Stands for the classes beyond the commonest; no class is named so. */
const others = '\u0000others';

function commonest(devices: Predictions): string[] {
  const totals = new Map<string, number>();
  for (const classes of devices)
    for (const [name, count] of Object.entries(classes)) totals.set(name, (totals.get(name) ?? 0) + count);
  const names = [...totals].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).map(([name]) => name);
  return names.length <= mostClasses ? names : [...names.slice(0, mostClasses - 1), others];
}

function countsOf(devices: Predictions, name: string, names: readonly string[]): DeviceCounts {
  const known = new Set(names);
  return devices.map((classes) => {
    let trials = 0;
    let hits = 0;
    for (const [key, count] of Object.entries(classes)) {
      trials += count;
      if (key === name || (name === others && !known.has(key))) hits += count;
    }
    return { hits, trials };
  });
}

function predictions(devices: Predictions): number {
  let sum = 0;
  for (const classes of devices) for (const count of Object.values(classes)) sum += count;
  return sum;
}

function answering(devices: Predictions): number {
  return devices.filter((classes) => Object.keys(classes).length > 0).length;
}
