import type { ManifestInput } from '@edgeloop/shared/manifest';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { encodeGraph, identity } from '../../../../test/support/onnx-models.ts';
import { servePredict } from './predict-fixture.ts';
import { encodeWav } from './wav-fixture.ts';

const served = await servePredict();

/** `x` [1, 4] and `h` [1, 1] -> their sum `y` [1, 1], and the same as `hN`. */
const adding = encodeGraph({
  inputs: [
    { name: 'x', type: 'float', dims: [1, 'samples'] },
    { name: 'h', type: 'float', dims: [1, 1] },
  ],
  outputs: [
    { name: 'y', type: 'float', dims: [1, 1] },
    { name: 'hN', type: 'float', dims: [1, 1] },
  ],
  initializers: [{ name: 'axis', dims: [1], data: BigInt64Array.of(1n) }],
  nodes: [
    { opType: 'ReduceSum', inputs: ['x', 'axis'], outputs: ['sum'] },
    { opType: 'Add', inputs: ['sum', 'h'], outputs: ['y'] },
    { opType: 'Identity', inputs: ['y'], outputs: ['hN'] },
  ],
});

/** `x` [1, 2] -> the same as scores of two classes. */
const twoClasses = identity('float', [1, 2]);

const audio = (more: object = {}) => ({ sampleRate: 8, samples: 4, hop: 4, ...more });
const stateful = (more: object = {}, h: object = { state: 'hN' }): ManifestInput => ({
  inputs: { x: { audio: audio(more) }, h },
  outputs: { scores: 'y' },
});

beforeAll(async () => {
  await served.load('sums', adding, stateful());
  await served.load('begun', adding, stateful({}, { state: 'hN', value: 100 }));
  await served.load('memoryless', adding, stateful({}, { value: 0 }));
  await served.load('overlapping', adding, stateful({ hop: 2 }, { value: 0 }));
  await served.load('context', adding, stateful({ hop: 3, context: 1 }, { value: 0 }));
  await served.load('loud', adding, {
    ...stateful({ samples: 2, hop: 2 }, { value: 0 }),
    outputs: { scores: 'y', threshold: 1, segments: { joinWithin: 0.5, atLeast: 0.3 } },
  });
  await served.load('classes', twoClasses, {
    task: 'classification',
    inputs: { x: { audio: { sampleRate: 8, hop: 2 } } },
    outputs: { labels: ['hum', 'hiss'] },
  });
  await served.load('half', identity('float16', [1, 2]), { inputs: { x: { audio: { sampleRate: 8, hop: 2 } } } });
});
afterAll(() => served.close());

const Timed = z.object({
  recording: z.object({ seconds: z.number(), sampleRate: z.number() }),
  windows: z.array(z.looseObject({ start: z.number(), end: z.number(), value: z.number().optional() })),
  segments: z.array(z.looseObject({ start: z.number(), end: z.number() })).optional(),
});

async function hear(model: string, samples: number[], sampleRate = 8) {
  const wav = encodeWav(
    samples.map((sample) => [sample]),
    { bits: 32, float: true, sampleRate },
  );
  const { status, body } = await served.post(`/predict/${model}`, wav, 'audio/wav');
  expect(status, JSON.stringify(body)).toBe(200);
  return Timed.parse(body);
}
const values = ({ windows }: z.infer<typeof Timed>) => windows.map(({ start, end, value }) => [start, end, value]);

describe('recordings of any length', () => {
  const ten = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

  it('are taken window by window, the last one filled up with silence', async () => {
    const heard = await hear('memoryless', ten);
    expect(heard.recording).toEqual({ seconds: 1.25, sampleRate: 8 });
    expect(values(heard)).toEqual([
      [0, 0.5, 10],
      [0.5, 1, 26],
      [1, 1.25, 19],
    ]);
    expect(values(await hear('memoryless', [1]))).toEqual([[0, 0.125, 1]]);
    expect(values(await hear('memoryless', [1, 2, 3, 4]))).toEqual([[0, 0.5, 10]]);
  });

  it('overlap, and hear again what came before, as the manifest says', async () => {
    expect(values(await hear('overlapping', ten)).map(([, , value]) => value)).toEqual([10, 18, 26, 34]);
    // One sample of context, silence before the first: 0+1+2+3, 3+4+5+6, 6+7+8+9, 9+10.
    expect(values(await hear('context', ten))).toEqual([
      [0, 0.375, 6],
      [0.375, 0.75, 18],
      [0.75, 1.125, 30],
      [1.125, 1.25, 19],
    ]);
  });

  it('carry the state from window to window, and every recording begins anew', async () => {
    for (let again = 0; again < 2; again++) {
      expect(values(await hear('sums', ten)).map(([, , value]) => value)).toEqual([10, 36, 55]);
    }
    expect(values(await hear('begun', ten)).map(([, , value]) => value)).toEqual([110, 136, 155]);
    const [first, second] = await Promise.all([hear('sums', ten), hear('sums', ten.toReversed())]);
    expect(values(first).map(([, , value]) => value)).toEqual([10, 36, 55]);
    expect(values(second).map(([, , value]) => value)).toEqual([34, 52, 55]);
  });

  it('begin with the state that the caller sends', async () => {
    const form = new FormData();
    const wav = encodeWav([[1]], { bits: 32, float: true, sampleRate: 8 });
    form.set('file', new Blob([new Uint8Array(wav)]), 'a.wav');
    form.set('inputs', JSON.stringify({ h: 7 }));
    expect((await served.post('/predict/sums', form)).body).toMatchObject({ windows: [{ value: 8 }] });
  });

  it('are answered with classes and their segments', async () => {
    const heard = await hear('classes', [0.9, 0.1, 0.8, 0.2, 0.3, 0.7, 0.4, 0.6, 0.9, 0.1]);
    expect(heard.windows.map(({ label }) => label)).toEqual(['hum', 'hum', 'hiss', 'hiss', 'hum']);
    expect(heard.segments).toEqual([
      { label: 'hum', start: 0, end: 0.5, score: expect.closeTo(0.9, 5) },
      { label: 'hiss', start: 0.5, end: 1, score: expect.closeTo(0.7, 5) },
      { label: 'hum', start: 1, end: 1.25, score: expect.closeTo(0.9, 5) },
    ]);
    expect(served.observed.at(-1)?.outcome).toMatchObject({ result: { outputs: [{ shape: [5, 2] }] } });
  });

  it('are answered with what is above the threshold: short silences joined, short sounds left out', async () => {
    // A window is 0.25 s: loud, loud, silent, loud, silent, silent, loud, silent.
    const loud = [1, 0];
    const silent = [0, 0];
    const heard = await hear('loud', [loud, loud, silent, [3, 0], silent, silent, loud, silent].flat());
    expect(heard.segments).toEqual([{ start: 0, end: 1, score: 3 }]);
  });

  it('are resampled to the rate of the model', async () => {
    const slow = await hear('memoryless', new Array<number>(40).fill(1), 16);
    expect(slow.recording).toEqual({ seconds: 2.5, sampleRate: 16 });
    expect(slow.windows).toHaveLength(5);
    for (const { value } of slow.windows.slice(1, -1)) expect(Math.abs((value ?? 0) - 4)).toBeLessThan(0.1);
  });

  it('go into other kinds of floating point inputs as well', async () => {
    const wav = encodeWav([[0.5], [0.25], [-1]], { bits: 32, float: true, sampleRate: 8 });
    expect((await served.post('/predict/half', wav, 'audio/wav')).body).toMatchObject({
      windows: [
        { start: 0, end: 0.25 },
        { start: 0.25, end: 0.375 },
      ],
      outputs: [{ name: 'y', shape: [2, 2], data: [0.5, 0.25, -1, 0] }],
    });
  });

  it('are refused without samples, and when they make too many windows', async () => {
    const wav = (length: number) => encodeWav(new Array(length).fill([0]), { bits: 8, float: false, sampleRate: 8 });
    expect(await served.post('/predict/sums', wav(0), 'audio/wav')).toEqual({
      status: 400,
      body: { error: 'the recording has no samples' },
    });
    expect(await served.post('/predict/classes', wav(40_002), 'audio/wav')).toEqual({
      status: 413,
      body: { error: 'the recording makes 20001 windows, up to 20000 are taken' },
    });
  });
});

describe('manifests of sound that contradict the model', () => {
  it('are refused at load with the field', async () => {
    const load = (more: object, h: object = { value: 0 }) => served.load('wrong', adding, stateful(more, h));
    await expect(load({ samples: undefined })).rejects.toThrow('audio.hop: needs "samples"');
    await expect(load({ context: 4 })).rejects.toThrow('audio.context: leaves nothing');
    await expect(load({ hop: undefined, context: 1 })).rejects.toThrow('give a "hop"');
    await expect(load({}, { state: 'h2' })).rejects.toThrow('inputs.h.state: the model has no output "h2"');
    const wide = encodeGraph({
      inputs: [
        { name: 'x', type: 'float', dims: [1, 4] },
        { name: 'h', type: 'float', dims: [1, 2] },
      ],
      outputs: [
        { name: 'hN', type: 'float', dims: [1, 4] },
        { name: 'y', type: 'float', dims: [1, 2] },
      ],
      nodes: [
        { opType: 'Identity', inputs: ['x'], outputs: ['hN'] },
        { opType: 'Identity', inputs: ['h'], outputs: ['y'] },
      ],
    });
    await expect(served.load('wrong', wide, stateful({}, { state: 'hN' }))).rejects.toThrow(
      "can't become this FP32 [1,2]",
    );
  });
});
