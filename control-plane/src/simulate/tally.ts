// What a simulated fleet did so far; tallies of its processes add up.
import { mergeSketches, QuantileSketch } from '@edgeloop/shared/sketches/ddsketch';
import { z } from 'zod';

const Count = z.number().int().min(0);

export const Tally = z.object({
  /** Devices. */
  joined: Count,
  connected: Count,
  /** Connections that were ever accepted, and those that ended otherwise than by `end`. */
  connects: Count,
  losses: Count,
  windows: z.object({
    made: Count,
    /** Sent at least once. */
    sent: Count,
    acknowledged: Count,
    waiting: Count,
    /** Sent more than once, each time. */
    resent: Count,
    /** Not made, since the device had no room for them. */
    heldBack: Count,
  }),
  /** In the windows that were made. */
  requests: Count,
  reports: Count,
  bytes: z.object({ in: Count, out: Count }),
  /** Devices that took in a version, by its number. */
  serving: z.record(z.string(), Count),
  /** Milliseconds from sending a batch to its acknowledgement. */
  acknowledgedMs: QuantileSketch,
});
export type Tally = z.infer<typeof Tally>;

const emptySketch: QuantileSketch = { count: 0, sum: 0, max: 0, zeros: 0, bins: [] };

export function emptyTally(): Tally {
  return {
    ...{ joined: 0, connected: 0, connects: 0, losses: 0, requests: 0, reports: 0 },
    windows: { made: 0, sent: 0, acknowledged: 0, waiting: 0, resent: 0, heldBack: 0 },
    bytes: { in: 0, out: 0 },
    serving: {},
    acknowledgedMs: emptySketch,
  };
}

const counts = ['joined', 'connected', 'connects', 'losses', 'requests', 'reports'] as const;
const windowCounts = ['made', 'sent', 'acknowledged', 'waiting', 'resent', 'heldBack'] as const;

export function addTallies(all: readonly Tally[]): Tally {
  const sum = emptyTally();
  for (const each of all) {
    for (const key of counts) sum[key] += each[key];
    for (const key of windowCounts) sum.windows[key] += each.windows[key];
    for (const way of ['in', 'out'] as const) sum.bytes[way] += each.bytes[way];
    for (const [version, devices] of Object.entries(each.serving))
      sum.serving[version] = (sum.serving[version] ?? 0) + devices;
    sum.acknowledgedMs = mergeSketches(sum.acknowledgedMs, each.acknowledgedMs);
  }
  return sum;
}
