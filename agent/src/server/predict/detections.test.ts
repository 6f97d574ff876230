import type { ManifestInput } from '@edgeloop/shared/manifest';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeGraph } from '../../../../test/support/onnx-models.ts';
import { servePredict } from './predict-fixture.ts';

const served = await servePredict();
afterAll(() => served.close());

/** A picture of 32 x 32 -> outputs that are always the same. */
function saying(outputs: Record<string, { dims: number[]; data: number[] }>): Uint8Array {
  const named = Object.entries(outputs);
  return encodeGraph({
    inputs: [{ name: 'x', type: 'float', dims: [1, 3, 32, 32] }],
    outputs: named.map(([name, { dims }]) => ({ name, type: 'float', dims })),
    initializers: named.map(([name, { dims, data }]) => ({
      name: `${name}-said`,
      dims,
      data: Float32Array.from(data),
    })),
    nodes: named.map(([name]) => ({ opType: 'Identity', inputs: [`${name}-said`], outputs: [name] })),
  });
}

type Image = NonNullable<NonNullable<ManifestInput['inputs']>[string]['image']>;
const detector = (
  outputs: Partial<NonNullable<ManifestInput['outputs']>>,
  image: Partial<Image> = {},
): ManifestInput => ({
  task: 'detection',
  inputs: { x: { image: { width: 32, height: 32, ...image } } },
  outputs,
});

/** A picture of this size. */
async function ask(model: string, width: number, height: number): Promise<unknown> {
  const body = await sharp({ create: { width, height, channels: 3, background: '#fff' } })
    .png()
    .toBuffer();
  const { status, body: answer } = await served.post(`/predict/${model}`, body, 'image/png');
  expect(status, JSON.stringify(answer)).toBe(200);
  return answer;
}

const scores = { dims: [1, 2], data: [0.9, 0.8] };
const pixels = { boxes: 'boxes', scores: 'scores', normalised: false } as const;

describe('boxes', () => {
  beforeAll(async () => {
    // One cell of 16 says a box around (12, 12) of 8 x 8.
    const silent = [0, 0, 0, 0, 0, 0];
    const said = [0.5, 0.5, 0, 0, 0.9, 1];
    const yolox = saying({
      table: { dims: [1, 16, 6], data: [...Array(5).fill(silent), said, ...Array(10).fill(silent)].flat() },
    });
    const head = { kind: 'yolox' as const, strides: [8] };
    const letterbox = { crop: 'pad', padColor: 114 } as const;
    await served.load(
      'yolox',
      yolox,
      detector({ labels: ['dog'], detection: { table: 'table', head } }, { ...letterbox, padAt: 'top-left' }),
    );
    await served.load('middle', yolox, detector({ labels: ['dog'], detection: { table: 'table', head } }, letterbox));
    await served.load(
      'undecoded',
      yolox,
      detector({
        labels: ['dog'],
        detection: { table: 'table', columns: 'objectness', format: 'cxcywh', normalised: false },
      }),
    );
    const two = saying({ boxes: { dims: [1, 2, 4], data: [0, 0, 8, 8, 16, 16, 8, 24] }, scores });
    await served.load('inside-out', two, detector({ detection: pixels }));
    const apart = saying({ boxes: { dims: [1, 2, 4], data: [0, 0, 8, 8, 16, 16, 24, 24] }, scores });
    await served.load('few', apart, detector({ detection: { ...pixels, maxDetections: 1 } }));
    await served.load('margin', apart, detector({ detection: pixels }, { crop: 'pad', padAt: 'top-left' }));
    await served.load('apart', apart, detector({ detection: pixels }));
  });

  it('come out of a head, and lead through the margin to the picture', async () => {
    // 64 x 32 is halved; the margin is below.
    expect(await ask('yolox', 64, 32)).toEqual({
      ...{ id: expect.any(String), model: 'yolox', version: 1, image: { width: 64, height: 32 } },
      detections: [{ label: 'dog', score: expect.closeTo(0.9, 5), box: { x: 16, y: 16, width: 16, height: 16 } }],
    });
    // The margin above takes 8 pixels of the model's input.
    expect(await ask('middle', 64, 32)).toMatchObject({
      detections: [{ box: { x: 16, y: 0, width: 16, height: 16 } }],
    });
  });

  it('come with a warning when they are none, when there are more, and when they are elsewhere', async () => {
    expect(await ask('undecoded', 32, 32)).toMatchObject({
      detections: [],
      warnings: [expect.stringContaining('1 of 1 boxes above the score threshold have no area')],
    });
    expect(await ask('inside-out', 32, 32)).toMatchObject({
      detections: [{ label: '0' }],
      warnings: [expect.stringContaining('1 of 2 boxes')],
    });
    expect(await ask('few', 32, 32)).toMatchObject({
      detections: [{ box: { x: 0 } }],
      warnings: [expect.stringContaining('cut at 1 detections')],
    });
    expect(await ask('margin', 64, 32)).toMatchObject({
      detections: [{ box: { x: 0 } }],
      warnings: ['1 of 2 boxes lie outside the picture'],
    });
    expect(await ask('apart', 32, 32)).not.toHaveProperty('warnings');
  });
});

describe('masks and key points', () => {
  beforeAll(async () => {
    // A box from (8, 8) to (24, 24); the prototypes are the left half and the top half.
    const halves = Array.from({ length: 32 }, (_, i) => (i < 16 ? (i % 4 < 2 ? 1 : -1) : (i - 16) / 4 < 2 ? 1 : -1));
    const mask = saying({
      table: { dims: [1, 7, 1], data: [16, 16, 16, 16, 0.9, 1, 0] },
      prototypes: { dims: [1, 2, 4, 4], data: halves },
    });
    const table = { table: 'table', format: 'cxcywh', normalised: false } as const;
    const masks = { prototypes: 'prototypes' };
    await served.load('masks', mask, detector({ labels: ['cat'], detection: { ...table, masks } }));
    const pose = saying({ table: { dims: [1, 11, 1], data: [16, 16, 16, 16, 0.9, 8, 8, 0.75, 40, 8, 0.5] } });
    const keypoints = { names: ['nose', 'tail'] };
    await served.load('pose', pose, detector({ labels: ['cat'], detection: { ...table, keypoints } }));
    // One cell of 16: its box reaches half a stride from (12, 12), since both bins are alike.
    const silent = [...Array(8).fill(0), -20, ...Array(6).fill(0)];
    const said = [...Array(8).fill(0), 3, 0.5, -0.25, 0, 3, 0, 0];
    const raw = saying({
      table: { dims: [1, 16, 15], data: [...Array(5).fill(silent), said, ...Array(10).fill(silent)].flat() },
    });
    const head = { kind: 'yolov8' as const, strides: [8], bins: 2 };
    await served.load('raw-pose', raw, detector({ labels: ['cat'], detection: { table: 'table', head, keypoints } }));
  });

  it('cover the box, as fine as the model saw it', async () => {
    const half = { size: [16, 16], counts: [0, 8 * 16, 8 * 16] };
    expect(await ask('masks', 64, 64)).toMatchObject({
      detections: [{ label: 'cat', box: { x: 16, y: 16, width: 32, height: 32 }, mask: half }],
    });
    expect(await ask('masks', 16, 16)).toMatchObject({
      detections: [{ box: { x: 4, y: 4, width: 8, height: 8 }, mask: { size: [8, 8], counts: [0, 32, 32] } }],
    });
  });

  it('are points of the picture, by name, also outside of it', async () => {
    expect(await ask('pose', 64, 32)).toMatchObject({
      detections: [
        {
          keypoints: [
            { name: 'nose', x: 16, y: 8, score: 0.75 },
            { name: 'tail', x: 80, y: 8, score: 0.5 },
          ],
        },
      ],
    });
  });

  it('are reckoned as the program of a head does', async () => {
    expect(await ask('raw-pose', 64, 32)).toMatchObject({
      detections: [
        {
          box: { x: 16, y: 8, width: 16, height: 8 },
          keypoints: [
            // (0.5 * 2 + 1) * 8 and (-0.25 * 2 + 1) * 8 in a model that saw the picture at half its width.
            { name: 'nose', x: 32, y: 4, score: 0.5 },
            { name: 'tail', x: 112, y: 8, score: 0.5 },
          ],
        },
      ],
    });
  });

  it('must be what the model has', async () => {
    const load = (detection: NonNullable<ManifestInput['outputs']>['detection'], labels = ['cat']) =>
      served.load(
        'wrong',
        saying({ table: { dims: [1, 7, 9], data: Array(63).fill(0) } }),
        detector({ labels, detection }),
      );
    await expect(load({ table: 'table', masks: { prototypes: 'p' } })).rejects.toThrow(
      'masks.prototypes: the model has no',
    );
    await expect(load({ table: 'table', keypoints: { count: 2 } })).rejects.toThrow('no dimension of 11');
    await expect(load({ table: 'table', head: { kind: 'yolox' } })).rejects.toThrow('outputs.detection.head: its head');
    await expect(load({ maps: ['m'], head: { kind: 'yolox' } })).rejects.toThrow('detection.maps: the model has no');
    const both = detector({ detection: { table: 'table' }, segmentation: { output: 'table' } });
    await expect(
      served.load('wrong', saying({ table: { dims: [1, 7, 9], data: Array(63).fill(0) } }), both),
    ).rejects.toThrow('not both');
  });
});

describe('maps of classes', () => {
  beforeAll(async () => {
    // Two classes of 4 x 4: the right half is road.
    const road = Array.from({ length: 16 }, (_, i) => (i % 4 < 2 ? 0 : 5));
    const model = saying({ map: { dims: [1, 2, 4, 4], data: [...Array(16).fill(1), ...road] } });
    const outputs = { labels: ['grass', 'road'], segmentation: { output: 'map' } };
    const segmenter = (image: Partial<Image> = {}, more: object = {}): ManifestInput => ({
      ...detector({ ...outputs, segmentation: { output: 'map', ...more } }, image),
      task: 'segmentation',
    });
    await served.load('map', model, segmenter());
    await served.load('letterbox', model, segmenter({ crop: 'pad' }, { background: 0 }));
    await served.load('center', model, segmenter({ crop: 'center' }));
  });

  it('are a mask for each class that is there, over the picture', async () => {
    expect(await ask('map', 64, 64)).toMatchObject({
      image: { width: 64, height: 64 },
      area: { x: 0, y: 0, width: 64, height: 64 },
      segments: [
        { label: 'grass', share: 0.5, mask: { size: [4, 4], counts: [0, 8, 8] } },
        { label: 'road', share: 0.5, mask: { size: [4, 4], counts: [8, 8] } },
      ],
    });
    expect((await served.get('/predict/map')).body).toMatchObject({ task: 'segmentation' });
  });

  it('leave out margins and the background, and say what of the picture they are of', async () => {
    expect(await ask('letterbox', 64, 32)).toMatchObject({
      area: { x: 0, y: 0, width: 64, height: 32 },
      segments: [{ label: 'road', share: 0.5, mask: { size: [2, 4], counts: [4, 4] } }],
    });
    expect(await ask('center', 64, 32)).toMatchObject({
      area: { x: 16, y: 0, width: 32, height: 32 },
      segments: [{ label: 'grass' }, { label: 'road' }],
    });
  });

  it('must be what the model has', async () => {
    const model = saying({ map: { dims: [1, 2, 4, 4], data: Array(32).fill(1) } });
    const load = (outputs: ManifestInput['outputs'], inputs?: ManifestInput['inputs']) =>
      served.load('wrong', model, { ...detector(outputs ?? {}), ...(inputs && { inputs }) });
    await expect(load({ segmentation: { output: 'm' } })).rejects.toThrow(
      'segmentation.output: the model has no output "m"',
    );
    await expect(load({ labels: ['a', 'b', 'c'], segmentation: { output: 'map' } })).rejects.toThrow('2 classes for 3');
    await expect(load({ segmentation: { output: 'map' } }, {})).rejects.toThrow('needs an input with "image"');
  });
});
