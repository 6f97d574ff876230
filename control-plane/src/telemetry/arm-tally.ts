// Adds up what devices answered with a version, device by device, as gates are given it.

import { mergeShadows } from '@edgeloop/shared/shadow-windows';
import { bucketsTo, type QuantileSketch, QuantileSketchBuilder, shiftedDown } from '@edgeloop/shared/sketches/ddsketch';
import type { ShadowWindow, Window } from '@edgeloop/shared/telemetry';
import type { Counts } from '../gates/counts.ts';
import type { Arm, ShadowArm } from '../gates/evidence.ts';

interface DeviceTally {
  /** In the shadow: rows and failed runs; hits are those on which the versions do not agree. */
  disagreements: Counts;
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
  #shadow: ShadowWindow | undefined;

  constructor(before: (deviceId: string) => number) {
    this.#before = before;
  }

  add(deviceId: string, { succeeded, failed, latencyMs, classes, shadow }: Window): void {
    const tally = this.#devices.get(deviceId) ?? newTally();
    this.#devices.set(deviceId, tally);
    if (shadow !== undefined) {
      this.#addShadow(tally, shadow);
      return;
    }
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

  #addShadow({ disagreements }: DeviceTally, shadow: ShadowWindow): void {
    const failed = failures(shadow);
    disagreements.trials += shadow.compared + failed;
    disagreements.hits += shadow.compared - shadow.agreed + failed;
    this.#shadow = mergeShadows(shadow, this.#shadow);
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
      shadow: this.#shadow && shadowArm(this.#shadow, devices),
    };
  }
}

function shadowArm(shadow: ShadowWindow, devices: readonly DeviceTally[]): ShadowArm {
  const { skipped, difference, latencyMs, formerMs } = shadow;
  const disagreements = devices.flatMap(({ disagreements: own }) => (own.trials === 0 ? [] : [{ ...own }]));
  return { disagreements, failed: failures(shadow), skipped, difference, latencyMs, formerMs };
}

function failures({ failed }: Pick<ShadowWindow, 'failed'>): number {
  return Object.values(failed).reduce((sum, count) => sum + count, 0);
}

function newTally(): DeviceTally {
  return {
    disagreements: { hits: 0, trials: 0 },
    requests: { hits: 0, trials: 0 },
    slow: { hits: 0, trials: 0 },
    classes: {},
  };
}

function countAbove({ bins }: QuantileSketch, bucket: number): number {
  let count = 0;
  for (const [bin, values] of bins) if (bin > bucket) count += values;
  return count;
}
