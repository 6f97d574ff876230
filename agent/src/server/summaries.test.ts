// What a request leaves in the journal beside its counts, over HTTP, with real models.
import sharp from 'sharp';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { manifest, sumClassifier } from '../../../test/support/models.ts';
import { identity, quarters } from '../../../test/support/onnx-models.ts';
import { createWindowSet } from '../telemetry/window.ts';
import { type ServedFront, serveFront } from './front-fixture.ts';
import { createSummaryBudget } from './summary-budget.ts';

let front: ServedFront;

beforeAll(async () => {
  front = await serveFront();
  await front.load('sum', sumClassifier(), manifest);
  await front.load('photo', identity('float', [1, 3, 8, 8]), {
    inputs: { x: { image: { width: 8, height: 8, scale: 1 / 255 } } },
  });
  await front.load('boxes', quarters(2), {
    task: 'detection',
    inputs: { x: { image: { width: 2, height: 2, color: 'gray', scale: 1 / 255 } } },
    outputs: { detection: { boxes: 'boxes', scores: 'scores', normalised: false } },
  });
  await front.load('price', identity('float', ['n', 1]), {
    task: 'regression',
    inputs: { x: { features: ['size'] } },
  });
});
afterAll(() => front.close());
beforeEach(() => {
  front.records.length = 0;
});

/** A picture of one colour, 16 by 9. */
function png(red: number, green: number, blue: number): Promise<Buffer> {
  const background = { r: red, g: green, b: blue };
  return sharp({ create: { width: 32, height: 18, channels: 3, background } })
    .png()
    .toBuffer();
}

/** Of the first record that has one: the values of a summary. */
function summary(name: string): (number | undefined)[] | undefined {
  return front.records.flatMap(({ summaries = [] }) => summaries).find((each) => each.name === name)?.values;
}

describe('a record of the journal', () => {
  it('says how long the request waited and, once for each run, how many rows ran', async () => {
    const answers = await Promise.all(
      Array.from({ length: 30 }, (_, a) => front.post('/predict/sum', { features: { a, b: 0 } })),
    );
    expect(answers.map(({ status }) => status)).toEqual(new Array(30).fill(200));
    await vi.waitFor(() => expect(front.records).toHaveLength(30));
    for (const { queueMs } of front.records) expect(queueMs).toBeGreaterThanOrEqual(0);
    const rows = front.records.reduce((sum, { batchRows = 0 }) => sum + batchRows, 0);
    expect(rows).toBe(30);
  });

  it('tells of a picture how it looks and how wide it was, by the request itself or in a tensor', async () => {
    const body = await png(200, 100, 50);
    expect((await front.post('/predict/photo', body, { 'content-type': 'image/png' })).status).toBe(200);
    const [brightness, contrast, saturation, warmth, , blur, aspect] = summary('input:x') ?? [];
    expect(brightness).toBeCloseTo((0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255, 2);
    expect([saturation, warmth]).toEqual([expect.closeTo(150 / 255, 2), expect.closeTo(150 / 255, 2)]);
    expect(contrast).toBeCloseTo(0, 3);
    expect([blur, aspect]).toEqual([Number.NaN, expect.closeTo(16 / 9, 3)]);
    front.records.length = 0;
    const tensor = { name: 'x', datatype: 'FP32', shape: [1, 3, 8, 8], data: new Array(192).fill(0.25) };
    await vi.waitFor(
      async () => {
        expect((await front.post('/v2/models/photo/infer', { inputs: [tensor] })).status).toBe(200);
        expect(summary('input:x')?.at(0)).toBeCloseTo(0.25, 3);
      },
      { timeout: 20_000, interval: 100 },
    );
  });

  it('tells of a detector how many boxes there were, whichever way it was asked', async () => {
    const tensor = { name: 'x', datatype: 'FP32', shape: [1, 1, 2, 2], data: [1, 0, 0, 0.9] };
    expect((await front.post('/v2/models/boxes/infer', { inputs: [tensor] })).status).toBe(200);
    expect(summary('output:boxes')).toEqual([2]);
    expect(summary('output:box-score')).toHaveLength(2);
    expect(front.records[0]?.texts?.['output:box-classes']).toHaveLength(2);
  });

  it('holds the value of a regression, of every request', async () => {
    for (let size = 0; size < 20; size++) await front.post('/predict/price', { features: { size } });
    expect(front.records.map(({ value }) => value)).toEqual(Array.from({ length: 20 }, (_, size) => size));
  });

  it('makes windows with all of it', async () => {
    await front.post('/predict/photo', await png(10, 10, 10), { 'content-type': 'image/png' });
    const set = createWindowSet(() => undefined);
    for (const record of front.records) set.add(record);
    const [window] = set.windows(false);
    expect(window?.succeeded).toBe(1);
    expect(window?.queueMs?.count).toBe(1);
  });
});

describe('what is summarised', () => {
  it('is bounded by the second and by what it takes, and is the same for slow and fast callers', () => {
    let now = 0;
    const budget = createSummaryBudget(() => now);
    const during = (seconds: number, everyMs: number, tookMs: number) => {
      let taken = 0;
      for (const end = now + seconds * 1000; now < end; now += everyMs)
        if (budget.isLeft(now))
          budget.spend(() => {
            taken++;
            now += tookMs;
          });
      return taken;
    };
    expect(during(100, 1000, 0.1)).toBe(100);
    const often = during(100, 1, 0.1);
    expect(often).toBeGreaterThan(700);
    expect(often).toBeLessThanOrEqual(810);
    // What takes 20 ms comes every two seconds: a hundredth of the time.
    expect(during(100, 1, 20)).toBeLessThanOrEqual(55);
  });
});
