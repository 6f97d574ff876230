// Adds up what devices answered with a version, device by device, as gates are given it.
import { bucketsTo, type QuantileSketch, QuantileSketchBuilder, shiftedDown } from '@edgeloop/shared/sketches/ddsketch';
import type { Window } from '@edgeloop/shared/telemetry';
import type { Counts } from '../gates/counts.ts';
import type { Arm } from '../gates/evidence.ts';

interface DeviceTally {
  requests: Counts;
  slow: Counts;
  classes: Record<string, number>;
}

/** `before`: the quantile of a device's latency with the old version, in milliseconds, by which its latencies are measured. */
export class ArmTally {
  readonly #devices = new Map<string, DeviceTally>();
  readonly #latency = new QuantileSketchBuilder();
  readonly #ratio = new QuantileSketchBuilder();
  readonly #before: (deviceId: string) => number;

  constructor(before: (deviceId: string) => number) {
    this.#before = before;
  }

  add(deviceId: string, { succeeded, failed, latencyMs, classes }: Window): void {
    const tally = this.#devices.get(deviceId) ?? newTally();
    this.#devices.set(deviceId, tally);
    const failures = Object.values(failed).reduce((sum, count) => sum + count, 0);
    tally.requests.hits += failures;
    tally.requests.trials += succeeded + failures;
    const buckets = bucketsTo(this.#before(deviceId));
    this.#latency.merge(latencyMs);
    this.#ratio.merge(shiftedDown(latencyMs, buckets));
    tally.slow.hits += countAbove(latencyMs, buckets);
    tally.slow.trials += latencyMs.count;
    for (const [name, count] of Object.entries(classes)) tally.classes[name] = (tally.classes[name] ?? 0) + count;
  }

  arm(labels: ReadonlyMap<string, Counts>): Arm {
    const devices = [...this.#devices.values()];
    return {
      requests: devices.map(({ requests }) => ({ ...requests })),
      labels: [...labels.values()],
      slow: devices.map(({ slow }) => ({ ...slow })),
      classes: devices.map(({ classes }) => ({ ...classes })),
      latencyMs: this.#latency.toJSON(),
      latencyRatio: this.#ratio.toJSON(),
    };
  }
}

function newTally(): DeviceTally {
  return { requests: { hits: 0, trials: 0 }, slow: { hits: 0, trials: 0 }, classes: {} };
}

function countAbove({ bins }: QuantileSketch, bucket: number): number {
  let count = 0;
  for (const [bin, values] of bins) if (bin > bucket) count += values;
  return count;
}
