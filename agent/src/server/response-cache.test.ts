import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { encodeGraph, identity, softmaxClassifier } from '../../../test/support/onnx-models.ts';
import type { AppDeps } from './app.ts';
import { type ServedFront, serveFront } from './front-fixture.ts';
import { createResponseCache } from './response-cache.ts';

const singles = (...values: number[]): NamedTensor => ({
  name: 'x',
  datatype: 'FP32',
  shape: [values.length],
  data: Float32Array.from(values),
});
const texts = (...data: string[]): NamedTensor => ({ name: 'x', datatype: 'BYTES', shape: [data.length], data });

describe('kept answers', () => {
  it('are found by all that makes an input another one', () => {
    const { keyOf } = createResponseCache(2048);
    const inputs: NamedTensor[][] = [
      [singles(1, 2)],
      [singles(2, 1)],
      [singles(0)],
      [singles(-0)],
      [{ ...singles(1, 2), shape: [1, 2] }],
      [{ ...singles(1, 2), name: 'y' }],
      [singles(1), singles(2)],
      [texts('ab', 'c')],
      [texts('a', 'bc')],
      [texts('1:a')],
      [{ name: 'x', datatype: 'UINT8', shape: [1], data: Uint8Array.of(1) }],
      [{ name: 'x', datatype: 'BOOL', shape: [1], data: Uint8Array.of(1) }],
    ];
    expect(new Set(inputs.map(keyOf)).size).toBe(inputs.length);
    expect(keyOf([singles(1, 2)])).toBe(keyOf([singles(1, 2)]));
    // A view of a larger buffer counts for itself alone.
    const view = Float32Array.of(9, 1, 2, 9).subarray(1, 3);
    expect(keyOf([{ ...singles(1, 2), data: view }])).toBe(keyOf([singles(1, 2)]));
  });

  it('never take more than their bound, and the one that was used longest ago goes first', () => {
    const step = fc.tuple(
      fc.constantFrom('get', 'put'),
      fc.integer({ min: 0, max: 9 }),
      fc.integer({ min: 0, max: 300 }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const cache = createResponseCache(4000);
        let model: { key: string; bytes: number }[] = [];
        for (const [deed, number, length] of steps) {
          const key = `k${number}`;
          const found = model.find((each) => each.key === key);
          if (deed === 'get') {
            expect(cache.get(key) === undefined).toBe(found === undefined);
            if (found) model = [...model.filter((each) => each !== found), found];
            continue;
          }
          cache.put(key, [singles(...new Array<number>(length).fill(1))]);
          model = model.filter((each) => each !== found);
          const bytes = 512 + length * 4;
          model.push({ key, bytes });
          while (model.reduce((sum, each) => sum + each.bytes, 0) > 4000) model.shift();
        }
        for (let i = 0; i < 10; i++)
          expect(cache.get(`k${i}`) !== undefined).toBe(model.some(({ key }) => key === `k${i}`));
      }),
    );
  });

  const Stats = z.object({
    model_stats: z.tuple([
      z.object({
        inference_count: z.number(),
        execution_count: z.number(),
        inference_stats: z.object({
          success: z.object({ count: z.number() }),
          cache_hit: z.object({ count: z.number(), ns: z.number() }),
          cache_miss: z.object({ count: z.number(), ns: z.number() }),
        }),
      }),
    ]),
  });

  async function served(use: (front: ServedFront) => Promise<void>, changes: Partial<AppDeps> = {}): Promise<void> {
    const front = await serveFront(changes);
    try {
      await use(front);
    } finally {
      await front.close();
    }
  }

  const input = (...data: number[]) => ({ inputs: [{ name: 'features', datatype: 'FP32', shape: [1, 2], data }] });
  const weights = [
    [5, 0],
    [0, 5],
  ];

  it('are given to whoever sends the same in any form, counted apart, and still observed', () =>
    served(async (front) => {
      await front.load('sides', softmaxClassifier(weights, [0, 0]), {
        inputs: { features: { features: ['a', 'b'] } },
        cache: { maxBytes: 100_000 },
      });
      const ask = async (id: string, ...data: number[]) => {
        const { status, json } = await front.post('/v2/models/sides/infer', { id, ...input(...data) });
        expect(status).toBe(200);
        return z.object({ id: z.string(), outputs: z.unknown() }).parse(json());
      };
      const first = await ask('a', 1, 0);
      const again = await ask('b', 1, 0);
      expect(again).toEqual({ ...first, id: 'b' });
      expect((await front.post('/predict/sides', { features: [1, 0] })).status).toBe(200);
      await ask('c', 0, 1);
      const wrong = await front.post('/v2/models/sides/infer', {
        inputs: [{ name: 'features', datatype: 'FP32', shape: [1, 3], data: [1, 0, 0] }],
      });
      expect(wrong.status).toBe(400);
      const {
        model_stats: [stats],
      } = Stats.parse((await front.get('/v2/models/sides/stats')).json());
      expect(stats).toMatchObject({
        inference_count: 2,
        execution_count: 2,
        inference_stats: { success: { count: 4 }, cache_hit: { count: 2 }, cache_miss: { count: 2 } },
      });
      expect(stats.inference_stats.cache_miss.ns).toBeGreaterThan(0);
      expect(front.records.map(({ outcome, rows }) => [outcome, rows]).slice(0, 4)).toEqual(
        new Array(4).fill(['ok', 1]),
      );
      expect((await front.get('/metrics')).body.toString()).toMatch(
        /edgeloop_inference_cache_hit_total\{model="sides",version="1"\} 2/,
      );
      expect((await front.get('/v2/models/sides/config')).json()).toMatchObject({ response_cache: { enable: true } });
    }));

  it('are those of the file that is loaded, and off where the manifest says nothing', () =>
    served(async (front) => {
      const ask = async () =>
        z
          .object({ outputs: z.tuple([z.object({ data: z.array(z.number()) })]) })
          .parse((await front.post('/v2/models/sides/infer', input(1, 0))).json()).outputs[0].data;
      await front.load('sides', softmaxClassifier(weights, [0, 0]), { cache: { maxBytes: 100_000 } });
      const before = await ask();
      await front.load('sides', softmaxClassifier(weights, [0, 9]), { cache: { maxBytes: 100_001 } });
      expect(await ask()).not.toEqual(before);
      await front.load('plain', identity('float', ['n']));
      const same = { inputs: [{ name: 'x', datatype: 'FP32', shape: [1], data: [1] }] };
      for (let i = 0; i < 2; i++) await front.post('/v2/models/plain/infer', same);
      const {
        model_stats: [stats],
      } = Stats.parse((await front.get('/v2/models/plain/stats')).json());
      expect(stats).toMatchObject({
        execution_count: 2,
        inference_stats: { cache_hit: { count: 0 }, cache_miss: { count: 0 } },
      });
    }));

  it('of failed runs are none', () =>
    served(
      async (front) => {
        const threes = encodeGraph({
          inputs: [{ name: 'x', type: 'float', dims: ['n'] }],
          outputs: [{ name: 'y', type: 'float', dims: ['m'] }],
          initializers: [{ name: 'shape', dims: [1], data: BigInt64Array.of(3n) }],
          nodes: [{ opType: 'Reshape', inputs: ['x', 'shape'], outputs: ['y'] }],
        });
        await front.load('threes', threes, { cache: { maxBytes: 100_000 } });
        const ask = (length: number) =>
          front.post('/v2/models/threes/infer', {
            inputs: [{ name: 'x', datatype: 'FP32', shape: [length], data: new Array(length).fill(1) }],
          });
        const statuses = [await ask(2), await ask(2), await ask(3)].map(({ status }) => status);
        expect(statuses[0]).toBeGreaterThanOrEqual(400);
        expect(statuses).toEqual([statuses[0], statuses[0], 200]);
      },
      { onUnexpected: () => undefined },
    ));
});
