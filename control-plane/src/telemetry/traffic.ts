// What devices answer in an hour, from the last period of what they run.
import type { Traffic } from '../gates/forecast.ts';
import { ArmTally } from './arm-tally.ts';
import type { FieldStore } from './field-store.ts';
import { type LastPeriodQuery, readLastPeriod } from './last-period.ts';

const hourMs = 3_600_000;
/** What was seen in less time says little of an hour. */
const shortestHours = 1 / 60;

export async function readTraffic(store: FieldStore, query: LastPeriodQuery): Promise<Traffic> {
  const period = await readLastPeriod(store, query);
  const tally = new ArmTally(period.latencyOf);
  const requests = new Map<string, number>();
  let oldest = query.startedAt;
  for (const { deviceId, window } of period.windows) {
    tally.add(deviceId, window);
    oldest = Math.min(oldest, window.startedAt);
    const failed = Object.values(window.failed).reduce((sum, count) => sum + count, 0);
    requests.set(deviceId, (requests.get(deviceId) ?? 0) + window.succeeded + failed);
  }
  const hours = Math.max(shortestHours, (query.startedAt - oldest) / hourMs);
  const perHour = (counts: ReadonlyMap<string, number>, over: number) =>
    new Map([...counts].map(([deviceId, count]) => [deviceId, count / over]));
  const labels = new Map([...period.labels].map(([deviceId, { trials }]) => [deviceId, trials]));
  return {
    requestsPerHour: perHour(requests, hours),
    labelsPerHour: perHour(labels, period.labelHours),
    lastPeriod: tally.arm(period.labels),
    timelyLabelsPerHour: period.labelsPerHour,
  };
}
