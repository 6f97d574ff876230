// Says of the devices that show something what they have in common. Pure.
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { Labels } from '@edgeloop/shared/selector';

interface Judged {
  id: string;
  labels: Labels;
  shows: boolean;
}

const namedDevices = 50;
/** From which share on the whole fleet is meant, and how well a label must tell those that show it from the others, both ways. */
const wholeFleet = 0.8;
const labelFit = 0.8;

export function scopeOf(judged: readonly Judged[]): Alert['scope'] {
  const showing = judged.filter(({ shows }) => shows);
  const devices = showing.slice(0, namedDevices).map(({ id }) => id);
  const scope = (kind: Alert['scope']['kind'], detail: string) => ({ kind, devices, detail });
  const [first] = showing;
  const share = `${showing.length} of ${judged.length} devices`;
  if (first === undefined) return scope('unknown', `on none of ${judged.length} devices by itself`);
  if (judged.length === 1)
    return scope('unknown', `only ${first.id} answered, so device and fleet cannot be told apart`);
  if (showing.length >= wholeFleet * judged.length) return scope('fleet', share);
  if (showing.length === 1) return scope('device', `${first.id} alone of ${judged.length} devices`);
  const label = commonLabel(showing, judged);
  return label === undefined
    ? scope('unknown', `${share}, no label tells them from the others`)
    : scope('cohort', `${label}: ${share}`);
}

function commonLabel(showing: readonly Judged[], judged: readonly Judged[]): string | undefined {
  const has = ({ labels }: Judged, key: string, value: string) => labels[key] === value;
  const pairs = new Map(showing.flatMap(({ labels }) => Object.entries(labels)).map((pair) => [pair.join('='), pair]));
  const fits = [...pairs.values()].map(([key, value]) => {
    const inside = showing.filter((each) => has(each, key, value)).length;
    const all = judged.filter((each) => has(each, key, value)).length;
    return { label: `${key}=${value}`, fit: Math.min(inside / showing.length, inside / all) };
  });
  return fits.sort((a, b) => b.fit - a.fit || (a.label < b.label ? -1 : 1)).find(({ fit }) => fit >= labelFit)?.label;
}
