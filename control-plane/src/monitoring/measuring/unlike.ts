// Anomalies: a value beside those of devices of its kind at the same time, and beside its own past. A device that was always otherwise
// than its peers is none, and what happens to all of them at once is none of one; so by default both must say so, and the past is
// only asked of the few that their peers tell apart.
import type { MetricCondition, MetricRule } from '@edgeloop/shared/api/alert-rules';
import type { Series } from '@edgeloop/shared/api/metrics';
import type { Labels } from '@edgeloop/shared/selector';
import type { FleetFigures } from '../alerts/fleet-figures.ts';
import { OwnPast } from '../anomalies/own-past.ts';
import { distances } from '../anomalies/peers.ts';
import { type Reading, subjectOf, type Unlike } from './reading.ts';

export type UnlikeCondition = Extract<MetricCondition, { is: 'unlike' }>;

/** The rule's metric in steps up to now, of all groups or of one device. */
export type ReadPast = (
  range: { from: number; to: number; step: number },
  device?: string,
) => Promise<readonly Series[]>;

interface Asked {
  rule: Pick<MetricRule, 'overSeconds' | 'minEvidence'>;
  condition: UnlikeCondition;
  fleet: Pick<FleetFigures, 'devices'>;
  /** The end of the step that is judged. */
  now: number;
  past: ReadPast;
  /** What a step without a value counts as. */
  empty: number;
}

/** Devices whose past is asked for in one look: those farthest from their peers. */
const mostAsked = 20;
/** Steps that a query can have. */
const mostSteps = 2000;
const daySeconds = 86_400;

/** With how far each is from what is usual. */
export async function withUnlike(asked: Asked, readings: readonly Reading[]): Promise<Reading[]> {
  const { condition } = asked;
  if (condition.of === 'past') {
    const series = await asked.past(rangeOf(asked));
    const bySubject = new Map(series.map((each) => [subjectOf(each.labels), each]));
    return readings.map((reading) => ({
      ...reading,
      unlike: besidePast(asked, reading, bySubject.get(subjectOf(reading.labels))),
    }));
  }
  const compared = besidePeers(asked, readings);
  return condition.of === 'peers' ? compared : confirmed(asked, compared);
}

/** Each among the devices that are like it and have enough evidence. */
function besidePeers({ rule, condition, fleet }: Asked, readings: readonly Reading[]): Reading[] {
  const labels = new Map(fleet.devices.map((device) => [device.id, device.labels]));
  const kinds = new Map<string, Map<string, number>>();
  const judged = readings.filter(
    ({ value, evidence }) => value !== null && (evidence ?? rule.minEvidence) >= rule.minEvidence,
  );
  for (const { labels: of, value } of judged) {
    const kind = kindOf(labels.get(of.device ?? ''), condition.alike);
    const values = kinds.get(kind) ?? new Map<string, number>();
    kinds.set(kind, values.set(of.device ?? '', value ?? 0));
  }
  const found = new Map([...kinds].map(([kind, values]) => [kind, distances(values)]));
  return readings.map((reading) => {
    const device = reading.labels.device ?? '';
    const kind = kindOf(labels.get(device), condition.alike);
    const distance = found.get(kind)?.get(device);
    if (distance === undefined) return reading;
    const { score, expected, peers } = distance;
    const of =
      condition.alike === undefined ? `${peers} other devices` : `${peers} others with ${condition.alike}=${kind}`;
    return { ...reading, unlike: { score, expected, of } };
  });
}

function kindOf(labels: Labels | undefined, alike: string | undefined): string {
  return alike === undefined ? '' : (labels?.[alike] ?? '');
}

/** Those that their peers tell apart, if their own past does so, too; without a past long enough the peers decide. */
async function confirmed(asked: Asked, readings: readonly Reading[]): Promise<Reading[]> {
  const apart = readings
    .filter(({ unlike }) => unlike !== undefined && Math.abs(unlike.score) >= asked.condition.deviations)
    .sort((a, b) => Math.abs(b.unlike?.score ?? 0) - Math.abs(a.unlike?.score ?? 0))
    .slice(0, mostAsked);
  const own = new Map<Reading, Unlike>();
  for (const reading of apart) {
    const [series] = await asked.past(rangeOf(asked), reading.labels.device);
    const past = besidePast(asked, reading, series);
    if (past !== undefined && reading.unlike !== undefined) own.set(reading, nearer(reading.unlike, past));
  }
  return readings.map((reading) => ({ ...reading, unlike: own.get(reading) ?? reading.unlike }));
}

/** What speaks less for an anomaly; one each way speaks for none. */
function nearer(peers: Unlike, past: Unlike): Unlike {
  const of = `${peers.of} and ${past.of}`;
  if (Math.sign(peers.score) !== Math.sign(past.score)) return { ...past, score: 0, of };
  return { ...(Math.abs(past.score) < Math.abs(peers.score) ? past : peers), of };
}

function besidePast({ rule, empty }: Asked, reading: Reading, series: Series | undefined): Unlike | undefined {
  if (reading.value === null || series === undefined) return undefined;
  const past = new OwnPast({ perDay: Math.round(daySeconds / rule.overSeconds) });
  const first = series.points.findIndex(({ value }) => value !== null);
  if (first < 0) return undefined;
  for (const { value } of series.points.slice(first)) past.learn(value ?? empty);
  const surprise = past.judge(reading.value);
  if (surprise === undefined) return undefined;
  const { score, expected, season } = surprise;
  const of = season === 'none' ? 'its own past' : `what is usual for it at this hour of the ${season}`;
  return { score: Math.sign(reading.value - expected) * score, expected, of };
}

/** Steps as long as the one that is judged, up to it. */
function rangeOf({ rule, condition, now }: Asked): { from: number; to: number; step: number } {
  const step = rule.overSeconds;
  const to = now - step * 1000;
  const steps = Math.min(mostSteps, Math.floor(condition.lookbackSeconds / step), Math.floor(to / 1000 / step));
  return { from: to - steps * step * 1000, to, step };
}
