// Published models with real photos and speech, where EDGELOOP_TEST_MODELS names the folder that holds them.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type Served, servePredict } from './predict-fixture.ts';
import { decodeWav } from './wav.ts';
import { encodeWav } from './wav-fixture.ts';

const folder = process.env.EDGELOOP_TEST_MODELS ?? '';
const detector = join(folder, 'ultraface');
const voice = join(folder, 'silero-vad');
const missing = folder === '' || !existsSync(detector) || !existsSync(voice);
const reason = missing ? ' (skipped: EDGELOOP_TEST_MODELS names no folder with ultraface and silero-vad)' : '';

const Faces = z.object({
  image: z.object({ width: z.number(), height: z.number() }),
  detections: z.array(
    z.object({
      label: z.literal('face'),
      score: z.number().min(0.7).max(1),
      box: z.object({ x: z.number(), y: z.number(), width: z.number(), height: z.number() }),
    }),
  ),
});
const Heard = z.object({
  recording: z.object({ seconds: z.number() }),
  windows: z.array(z.object({ start: z.number(), end: z.number(), value: z.number() })),
  segments: z.array(z.object({ start: z.number(), end: z.number(), score: z.number() })),
});
const Speech = z.object({ outputs: z.array(z.object({ name: z.string(), data: z.array(z.number()) })) });

describe.skipIf(missing)(`published models${reason}`, () => {
  let served: Served | undefined;
  afterAll(() => served?.close());

  it('find the faces of photos', async () => {
    served ??= await servePredict();
    await served.load('faces', readFileSync(join(detector, 'version-RFB-320.onnx')), {
      task: 'detection',
      inputs: { input: { image: { width: 320, height: 240, mean: [127], std: [128] } } },
      outputs: {
        labels: ['background', 'face'],
        detection: { boxes: 'boxes', scores: 'scores', background: 0, scoreThreshold: 0.7, iouThreshold: 0.3 },
      },
    });
    const counts: number[] = [];
    for (const photo of ['2.jpg', '19.jpg', '10.jpg', '1.jpg']) {
      const { body } = await served.post('/predict/faces', readFileSync(join(detector, photo)), 'image/jpeg');
      const { image, detections } = Faces.parse(body);
      counts.push(detections.length);
      for (const { box } of detections) {
        expect(box.x + box.width).toBeLessThanOrEqual(image.width + 0.01);
        expect(box.y + box.height).toBeLessThanOrEqual(image.height + 0.01);
        expect(box.height / box.width).toBeGreaterThan(0.8);
      }
    }
    expect(counts.slice(0, 2)).toEqual([4, 5]);
    expect(counts[2]).toBeGreaterThan(15);
    expect(counts[3]).toBeGreaterThan(35);
  });

  it('hear speech in a recording of any length, as the model says it window by window', async () => {
    served ??= await servePredict();
    const bytes = readFileSync(join(voice, 'silero_vad_16k_op15.onnx'));
    await served.load('voice', bytes, {
      inputs: {
        input: { audio: { sampleRate: 16_000, samples: 576, hop: 512, context: 64 } },
        state: { state: 'stateN' },
        sr: { value: 16_000 },
      },
      outputs: { threshold: 0.5, segments: { joinWithin: 0.1, atLeast: 0.25 } },
    });
    await served.load('by-hand', bytes, {
      inputs: { input: { audio: { sampleRate: 16_000, samples: 576 } }, state: { value: 0 }, sr: { value: 16_000 } },
    });
    const whole = readFileSync(join(voice, 'test.wav'));
    const heard = Heard.parse((await served.post('/predict/voice', whole, 'audio/wav')).body);
    expect(heard.windows).toHaveLength(Math.ceil(heard.recording.seconds / 0.032));
    const expected = await byHand(served, decodeWav(whole).samples.subarray(0, 40 * 512));
    for (const [at, value] of expected.entries()) expect(heard.windows[at]?.value).toBeCloseTo(value, 5);
    expect(heard.segments.length).toBeGreaterThan(5);
    const spoken = heard.segments.reduce((sum, { start, end }) => sum + end - start, 0);
    expect(spoken / heard.recording.seconds).toBeGreaterThan(0.4);
    expect(Math.max(...heard.segments.map(({ end }) => end))).toBeLessThanOrEqual(heard.recording.seconds);
  });
});

/** What the caller of a model gets who carries the state and the last 64 samples on himself. */
async function byHand(served: Served, samples: Float32Array): Promise<number[]> {
  let state: number[] | undefined;
  const heard: number[] = [];
  for (let at = 0; at < samples.length; at += 512) {
    const context = at === 0 ? new Float32Array(64) : samples.subarray(at - 64, at);
    const window = [...context, ...samples.subarray(at, at + 512)];
    const wav = encodeWav(
      window.map((sample) => [sample]),
      { bits: 32, float: true, sampleRate: 16_000 },
    );
    const form = new FormData();
    form.set('file', new Blob([new Uint8Array(wav)]), 'window.wav');
    if (state) form.set('inputs', JSON.stringify({ state }));
    const { outputs } = Speech.parse((await served.post('/predict/by-hand', form)).body);
    state = outputs.find(({ name }) => name === 'stateN')?.data;
    heard.push(outputs.find(({ name }) => name === 'output')?.data[0] ?? Number.NaN);
  }
  return heard;
}
