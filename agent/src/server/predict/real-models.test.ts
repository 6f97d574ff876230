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

  it('hear speech, with a state that the caller carries on', async () => {
    served ??= await servePredict();
    await served.load('voice', readFileSync(join(voice, 'silero_vad_16k_op15.onnx')), {
      inputs: { input: { audio: { sampleRate: 16_000, samples: 576 } }, state: { value: 0 }, sr: { value: 16_000 } },
    });
    const whole = readFileSync(join(voice, 'test.wav'));
    const refused = await served.post('/predict/voice', whole, 'audio/wav');
    expect(refused).toMatchObject({ status: 400, body: { error: expect.stringContaining('takes 576 (0.036 s)') } });
    const { samples } = decodeWav(whole);
    let [state, highest]: [number[] | undefined, number] = [undefined, 0];
    for (let at = 0; at + 576 <= 40 * 512; at += 512) {
      const frames = Array.from(samples.subarray(at, at + 576), (sample) => [sample]);
      const form = new FormData();
      const wav = encodeWav(frames, { bits: 16, float: false, sampleRate: 16_000 });
      form.set('file', new Blob([new Uint8Array(wav)]), 'window.wav');
      if (state) form.set('inputs', JSON.stringify({ state }));
      const { outputs } = Speech.parse((await served.post('/predict/voice', form)).body);
      state = outputs.find(({ name }) => name === 'stateN')?.data;
      highest = Math.max(highest, outputs.find(({ name }) => name === 'output')?.data[0] ?? 0);
    }
    expect(state).toHaveLength(256);
    expect(highest).toBeGreaterThan(0.9);
  });
});
