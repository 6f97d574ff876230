// Says of the devices that show something what they have in common. Pure.
import type { Alert } from '@edgeloop/shared/api/alerts';
import type { Labels } from '@edgeloop/shared/selector';
import { commonLabel, namedDevices, wholeFleet } from '../statistics/common-label.ts';

interface Judged {
  id: string;
  labels: Labels;
  shows: boolean;
}

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
  const label = commonLabel(
    showing,
    judged.filter(({ shows }) => !shows),
  );
  return label === undefined
    ? scope('unknown', `${share}, no label tells them from the others`)
    : scope('cohort', `${label}: ${share}`);
}
