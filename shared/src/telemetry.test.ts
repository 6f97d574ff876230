import { expect, it } from 'vitest';
import { QuantileSketchBuilder } from './sketches/ddsketch.ts';
import { TelemetryBatch } from './telemetry.ts';

it('takes windows of other versions of the agent, without the fields that it does not know', () => {
  const window = {
    ...{ kind: 'window', model: 'm', version: 1, startedAt: 0, endedAt: 10_000, succeeded: 1, failed: {}, invalid: 0 },
    ...{ rows: 1, latencyMs: new QuantileSketchBuilder().toJSON(), features: {}, classes: {} },
  };
  // `resources` once had other fields, which no agent filled.
  const sent = { ...window, resources: { rssBytes: 1, cpuMs: 1 }, later: 'unknown' };
  const { items } = TelemetryBatch.parse({ epoch: 1, items: [{ sequence: 1, item: sent }] });
  expect(items[0]?.item).toEqual({ ...window, resources: { samples: 0, seconds: 0 } });
});
