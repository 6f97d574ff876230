// The pipeline of docs/serving.md, with models of the same inputs and outputs as those that it speaks of, and with the real
// detector on real photos where EDGELOOP_TEST_MODELS names the folder that holds them.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { encodeGraph } from '../../../test/support/onnx-models.ts';
import { ModelFiles } from '../process/ipc.ts';
import { type ServedFront, serveFront } from './front-fixture.ts';

const page = readFileSync(new URL('../../../docs/serving.md', import.meta.url), 'utf8');
const [, example = ''] = /## Pipelines of models[\s\S]*?```json\n([\s\S]*?)```/.exec(page) ?? [];
const manifest = z.looseObject({ outputs: z.looseObject({ labels: z.array(z.string()) }) }).parse(JSON.parse(example));
const detector = join(process.env.EDGELOOP_TEST_MODELS ?? '', 'ultraface');
const missing = process.env.EDGELOOP_TEST_MODELS === undefined || !existsSync(detector);

const anchors = 4420;
/** Sees a face in the middle of every picture. */
const oneFace = encodeGraph({
  inputs: [{ name: 'input', type: 'float', dims: [1, 3, 240, 320] }],
  outputs: [
    { name: 'scores', type: 'float', dims: [1, anchors, 2] },
    { name: 'boxes', type: 'float', dims: [1, anchors, 4] },
  ],
  initializers: [
    { name: 's', dims: [1, anchors, 2], data: Float32Array.from({ length: anchors * 2 }, (_, i) => (i % 2) * 0.9) },
    {
      name: 'b',
      dims: [1, anchors, 4],
      data: Float32Array.from({ length: anchors * 4 }, (_, i) => (i % 4 < 2 ? 0.25 : 0.75)),
    },
  ],
  nodes: [
    { opType: 'Identity', inputs: ['s'], outputs: ['scores'] },
    { opType: 'Identity', inputs: ['b'], outputs: ['boxes'] },
  ],
});
/** The brighter a face, the happier. */
const emotions = encodeGraph({
  inputs: [{ name: 'Input3', type: 'float', dims: [1, 1, 64, 64] }],
  outputs: [{ name: 'Plus692_Output_0', type: 'float', dims: [1, 8] }],
  initializers: [{ name: 'weights', dims: [1, 8], data: Float32Array.of(0, 1, 0, 0, 0, 0, 0, 0) }],
  nodes: [
    {
      opType: 'ReduceMean',
      inputs: ['Input3'],
      outputs: ['mean'],
      attributes: [
        { name: 'axes', ints: [2, 3] },
        { name: 'keepdims', int: 0 },
      ],
    },
    { opType: 'Mul', inputs: ['mean', 'weights'], outputs: ['Plus692_Output_0'] },
  ],
});
const Answer = z.object({
  detections: z.array(
    z.object({
      label: z.string(),
      box: z.object({ x: z.number(), y: z.number(), width: z.number(), height: z.number() }),
    }),
  ),
  warnings: z.array(z.string()).optional(),
});

describe('the pipeline of the documentation', () => {
  const root = mkdtempSync(join(tmpdir(), 'example-'));
  let front: ServedFront;
  beforeAll(async () => {
    front = await serveFront();
  });
  afterAll(async () => {
    await front.close();
    rmSync(root, { recursive: true });
  });

  async function load(name: string, faces: Uint8Array): Promise<void> {
    const path = join(root, name);
    mkdirSync(path);
    writeFileSync(join(path, 'faces.onnx'), faces);
    writeFileSync(join(path, 'emotions.onnx'), emotions);
    await front.engine.load(ModelFiles.parse({ name, version: 1, path, manifest }));
    front.engine.activate(name, 1);
  }

  async function predict(model: string, picture: Buffer): Promise<z.infer<typeof Answer>> {
    const answer = await front.post(`/predict/${model}`, picture, { 'content-type': 'image/jpeg' });
    expect([answer.status, answer.status === 200 || answer.body.toString()]).toEqual([200, true]);
    return Answer.parse(answer.json());
  }

  it('answers a picture with its faces and their classes', async () => {
    await load('faces', oneFace);
    const bright = await sharp({ create: { width: 800, height: 400, channels: 3, background: '#ccc' } })
      .jpeg()
      .toBuffer();
    expect(await predict('faces', bright)).toEqual({
      detections: [{ label: 'happiness', box: { x: 200, y: 100, width: 400, height: 200 } }],
    });
  });

  it.skipIf(missing)('finds in photos what the detector alone finds', async () => {
    const bytes = readFileSync(join(detector, 'version-RFB-320.onnx'));
    await load('photos', bytes);
    await front.load('alone', bytes, {
      task: 'detection',
      inputs: { input: { image: { width: 320, height: 240, mean: [127], std: [128] } } },
      outputs: {
        detection: { boxes: 'boxes', scores: 'scores', background: 0, scoreThreshold: 0.7, iouThreshold: 0.3 },
      },
    });
    for (const photo of ['2.jpg', '19.jpg', '1.jpg']) {
      const picture = readFileSync(join(detector, photo));
      const alone = (await predict('alone', picture)).detections;
      const { detections, warnings = [] } = await predict('photos', picture);
      expect(detections.length).toBe(Math.min(20, alone.length));
      expect(warnings.length).toBe(alone.length > 20 ? 1 : 0);
      expect(detections.every(({ label }) => manifest.outputs.labels.includes(label))).toBe(true);
      const sizes = ({ box }: { box: { width: number; height: number } }) => Math.round((box.width * box.height) / 100);
      if (alone.length <= 20)
        for (const each of detections)
          expect(Math.min(...alone.map((other) => Math.abs(sizes(other) / sizes(each) - 1)))).toBeLessThan(0.1);
    }
  });
});
