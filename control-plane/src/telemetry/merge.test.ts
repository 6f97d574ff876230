import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { emptyHistogram } from '@edgeloop/shared/sketches/histogram';
import { valueSketchOf, valuesIn } from '@edgeloop/shared/sketches/value-sketch';
import { Window } from '@edgeloop/shared/telemetry';
import { expect, it } from 'vitest';
import { createWindowMerge } from './merge.ts';

const bare = Window.parse({
  ...{
    kind: 'window',
    model: 'm',
    version: 1,
    startedAt: 0,
    endedAt: 1,
    succeeded: 1,
    failed: {},
    invalid: 0,
    rows: 1,
  },
  ...{ latencyMs: new QuantileSketchBuilder().toJSON(), features: { a: emptyHistogram([0, 1]) }, classes: {} },
});

function told(values: number[]): Window {
  const queue = new QuantileSketchBuilder();
  queue.add(values.length);
  const level = { count: 1, sum: values.length, min: values.length, max: values.length };
  return Window.parse({
    ...bare,
    queueMs: queue.toJSON(),
    sampled: { features: 1, requests: 1 },
    signals: { 'input:image:brightness': valueSketchOf(values) },
    categories: { site: { counts: { north: 1 }, other: 1 } },
    labelled: { labels: 1, correct: 1, confusion: { cat: { cat: 1 } } },
    resources: { samples: 1, seconds: 10, temperatureC: level },
  });
}

it('puts together what some windows hold and others do not, whichever comes first', () => {
  const windows = [bare, told([1, 2]), told([3, 4, 5]), bare];
  for (const order of [windows, windows.toReversed()]) {
    const merge = createWindowMerge();
    for (const window of order) merge.add(window);
    const merged = merge.result();
    expect(merged).toMatchObject({
      ...{ succeeded: 4, rows: 4, sampled: { features: 2, requests: 2 } },
      categories: { site: { counts: { north: 2 }, other: 2 } },
      labelled: { labels: 2, correct: 2, confusion: { cat: { cat: 2 } } },
      resources: { samples: 2, seconds: 20, temperatureC: { count: 2, sum: 5, min: 2, max: 3 } },
    });
    expect(merged?.queueMs?.count).toBe(2);
    expect(valuesIn(merged?.signals?.['input:image:brightness'] ?? { bins: [] })).toBe(5);
    expect(Window.parse(JSON.parse(JSON.stringify(merged)))).toEqual(merged);
  }
  expect(windows[1]).toEqual(told([1, 2]));
});
