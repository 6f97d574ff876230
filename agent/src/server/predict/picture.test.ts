import type { ManifestInput } from '@edgeloop/shared/manifest';
import sharp, { type Sharp } from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { identity, quarters } from '../../../../test/support/onnx-models.ts';
import { servePredict } from './predict-fixture.ts';

const served = await servePredict();

type Image = NonNullable<NonNullable<ManifestInput['inputs']>[string]['image']>;
const takes = (image: Partial<Image>): ManifestInput => ({
  inputs: { x: { image: { width: 2, height: 2, ...image } } },
});

const bright = (crop: Image['crop']): ManifestInput => ({
  task: 'detection',
  inputs: { x: { image: { width: 2, height: 2, color: 'gray', scale: 1 / 255, crop } } },
  outputs: { detection: { boxes: 'boxes', scores: 'scores', normalised: false } },
});

beforeAll(async () => {
  await served.load('planar', identity('float', [1, 3, 2, 2]), takes({ mean: [10, 20, 30], std: [2] }));
  await served.load('packed', identity('float', [1, 2, 2, 3]), takes({ layout: 'nhwc', color: 'bgr' }));
  await served.load('gray', identity('float', ['n', 1, 2, 2]), takes({ color: 'gray' }));
  await served.load('bytes', identity('uint8', [2, 2, 3]), takes({ layout: 'nhwc' }));
  await served.load('half', identity('float16', [1, 3, 2, 2]), takes({ scale: 1 / 255 }));
  await served.load('wide', identity('uint8', [2, 4, 3]), takes({ width: 4, layout: 'nhwc', crop: 'pad' }));
  const margin = { width: 4, layout: 'nhwc', crop: 'pad' } as const;
  await served.load('corner', identity('uint8', [2, 4, 3]), takes({ ...margin, padAt: 'top-left', padColor: 114 }));
  await served.load('tinted', identity('uint8', [2, 4, 3]), takes({ ...margin, padColor: [1, 2, 3], color: 'bgr' }));
  await served.load('raw', identity('uint8', [2, 2, 3]), takes({ layout: 'nhwc', colorProfile: 'ignore' }));
  await served.load('lying', identity('uint8', [2, 2, 3]), takes({ layout: 'nhwc', orientation: 'ignore' }));
  await served.load('middle', identity('uint8', [2, 2, 3]), takes({ layout: 'nhwc', crop: 'center' }));
  for (const crop of ['stretch', 'center', 'pad'] as const)
    await served.load(`bright-${crop}`, quarters(2), bright(crop));
  const corner = { width: 2, height: 2, color: 'gray', scale: 1 / 255, crop: 'pad', padAt: 'top-left' } as const;
  await served.load('bright-corner', quarters(2), { ...bright('pad'), inputs: { x: { image: corner } } });
});
afterAll(() => served.close());

/** Rows of pixels, `[r, g, b]` each. */
function picture(rows: number[][][]): Sharp {
  const [height, width] = [rows.length, rows[0]?.length ?? 0];
  return sharp(Uint8Array.from(rows.flat(2)), { raw: { width, height, channels: 3 } });
}
const [red, green, blue, dark] = [
  [200, 0, 0],
  [0, 100, 0],
  [0, 0, 50],
  [1, 2, 3],
];
// A sharp object changes with each call on it.
const four = () =>
  picture([
    [red, green],
    [blue, dark],
  ]);

async function seen(model: string, body: Buffer, type = 'image/png'): Promise<number[]> {
  const { status, body: answer } = await served.post(`/predict/${model}`, body, type);
  expect(status, JSON.stringify(answer)).toBe(200);
  expect(answer).toMatchObject({ outputs: [{ data: expect.anything() }] });
  return JSON.parse(JSON.stringify(answer)).outputs[0].data;
}

describe('pixels', () => {
  it('are laid out, scaled and normalised as the manifest says', async () => {
    const png = await four().png().toBuffer();
    expect(await seen('planar', png)).toEqual([95, -5, -5, -4.5, -10, 40, -10, -9, -15, -15, 10, -13.5]);
    expect(await seen('packed', png)).toEqual([0, 0, 200, 0, 100, 0, 50, 0, 0, 3, 2, 1]);
    expect(await seen('bytes', png)).toEqual([red, green, blue, dark].flat());
    expect((await seen('half', png))[0]).toBeCloseTo(200 / 255, 3);
    expect(await seen('gray', png)).toEqual([60, 59, 6, 2]);
  });

  it('are the same from WebP without loss, from gray and from 16 bits, and nearly from JPEG', async () => {
    const exact = [red, green, blue, dark].flat();
    expect(await seen('bytes', await four().webp({ lossless: true }).toBuffer(), 'image/webp')).toEqual(exact);
    expect(await seen('bytes', await four().ensureAlpha(0.5).png().toBuffer())).toEqual(exact);
    expect(await seen('bytes', await four().toColourspace('rgb16').png().toBuffer())).toEqual(exact);
    const gray = await sharp(Uint8Array.of(1, 2, 3, 4), { raw: { width: 2, height: 2, channels: 1 } })
      .png()
      .toBuffer();
    expect(await seen('bytes', gray)).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
    const even = await sharp({ create: { width: 40, height: 40, channels: 3, background: '#c86432' } })
      .jpeg()
      .toBuffer();
    for (const [at, value] of (await seen('bytes', even, 'image/jpeg')).entries()) {
      expect(Math.abs(value - ([200, 100, 50][at % 3] ?? 0))).toBeLessThanOrEqual(3);
    }
  });

  it('stand upright, whatever way the camera was held', async () => {
    const turned = await four().withMetadata({ orientation: 6 }).png().toBuffer();
    expect(await seen('bytes', turned)).toEqual([blue, red, dark, green].flat());
  });

  it('are padded with black or cut to the middle', async () => {
    const png = await four().png().toBuffer();
    const black = [0, 0, 0];
    expect(await seen('wide', png)).toEqual([black, red, green, black, black, blue, dark, black].flat());
    const row = picture([
      [dark, red, green, dark],
      [dark, blue, dark, dark],
    ]);
    expect(await seen('middle', await row.png().toBuffer())).toEqual([red, green, blue, dark].flat());
  });

  it('have margins of the colour and on the side that the manifest says', async () => {
    const png = await four().png().toBuffer();
    const gray = [114, 114, 114];
    expect(await seen('corner', png)).toEqual([red, green, gray, gray, blue, dark, gray, gray].flat());
    const tint = [3, 2, 1];
    const swapped = [red, green, blue, dark].map((pixel) => pixel.toReversed());
    const [r = [], g = [], b = [], d = []] = swapped;
    expect(await seen('tinted', png)).toEqual([tint, r, g, tint, tint, b, d, tint].flat());
    const bw = await sharp(Uint8Array.of(1, 2, 3, 4), { raw: { width: 2, height: 2, channels: 1 } })
      .png()
      .toBuffer();
    const [one, two, three, four4] = [1, 2, 3, 4].map((value) => [value, value, value]);
    expect(await seen('corner', bw)).toEqual([one, two, gray, gray, three, four4, gray, gray].flat());
  });

  it('go through the colour profile of the file or not, as the manifest says', async () => {
    const wide = await sharp({ create: { width: 2, height: 2, channels: 3, background: '#c86432' } })
      .withIccProfile('p3')
      .png()
      .toBuffer();
    const [r = 0, g = 0, b = 0] = await seen('bytes', wide);
    for (const [value, wanted] of [
      [r, 200],
      [g, 100],
      [b, 50],
    ] as const)
      expect(Math.abs(value - wanted)).toBeLessThan(3);
    expect((await seen('raw', wide)).slice(0, 3)).toEqual([187, 105, 62]);
    const turned = await four().withMetadata({ orientation: 6 }).png().toBuffer();
    expect(await seen('lying', turned)).toEqual([red, green, blue, dark].flat());
  });

  it.each(['bytes', 'raw'])('come from JPEG files in CMYK, with a profile and without: %s', async (model) => {
    const solid = () => sharp({ create: { width: 16, height: 16, channels: 3, background: '#c86432' } });
    for (const cmyk of [solid().toColourspace('cmyk'), solid().toColourspace('cmyk').withIccProfile('cmyk')]) {
      const [r = 0, g = 0, b = 0] = await seen(model, await cmyk.jpeg({ quality: 95 }).toBuffer(), 'image/jpeg');
      for (const [value, wanted] of [
        [r, 200],
        [g, 100],
        [b, 50],
      ] as const)
        expect(Math.abs(value - wanted)).toBeLessThan(40);
    }
  });

  it('come from JPEG files without the mark at the end, and from those with something behind it', async () => {
    const noise = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * 7919) % 251);
    for (const progressive of [false, true]) {
      const jpeg = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
        .jpeg({ progressive })
        .toBuffer();
      const whole = await seen('planar', jpeg, 'image/jpeg');
      const open = jpeg.subarray(0, -2);
      for (const tail of [[], [0xff], [0, 0, 0, 0], [0xff, 0xd9, 1, 2, 3]]) {
        expect(await seen('planar', Buffer.concat([open, Uint8Array.from(tail)]), 'image/jpeg')).toEqual(whole);
      }
      for (const cut of [3, 8, 100, jpeg.length / 2]) {
        const { status, body } = await served.post('/predict/planar', jpeg.subarray(0, -cut), 'image/jpeg');
        expect(status, `${cut} bytes less`).toBe(400);
        expect(body).toEqual({ error: expect.stringContaining("the picture can't be decoded") });
      }
    }
  });

  it('come from a form or a body without a type as well', async () => {
    const png = await four().png().toBuffer();
    expect(await seen('bytes', png, 'application/octet-stream')).toEqual([red, green, blue, dark].flat());
    const form = new FormData();
    form.set('photo', new Blob([new Uint8Array(png)]), 'a.png');
    expect((await served.post('/predict/bytes', form)).body).toMatchObject({ outputs: [{ shape: [2, 2, 3] }] });
  });
});

describe('boxes', () => {
  const white = { create: { width: 40, height: 40, channels: 3 as const, background: '#fff' } };
  async function boxes(
    model: string,
    size: { width: number; height: number },
    at: { left: number; top: number },
    orientation = 1,
  ) {
    const base = sharp({ create: { ...size, channels: 3, background: '#000' } }).composite([{ input: white, ...at }]);
    const body = await base.withMetadata({ orientation }).png().toBuffer();
    return (await served.post(`/predict/${model}`, body, 'image/png')).body;
  }

  it('are in pixels of the picture', async () => {
    expect(await boxes('bright-stretch', { width: 80, height: 80 }, { left: 40, top: 40 })).toMatchObject({
      image: { width: 80, height: 80 },
      detections: [{ label: '0', score: expect.any(Number), box: { x: 40, y: 40, width: 40, height: 40 } }],
    });
  });

  it('follow the cut, the margins and the orientation', async () => {
    expect(await boxes('bright-center', { width: 180, height: 80 }, { left: 50, top: 0 })).toMatchObject({
      detections: [{ label: '0', box: { x: 50, y: 0, width: 40, height: 40 } }],
    });
    expect(await boxes('bright-pad', { width: 80, height: 40 }, { left: 40, top: 0 })).toMatchObject({
      image: { width: 80, height: 40 },
      detections: [{ box: { x: 40, y: 0, width: 40, height: 40 } }],
    });
    expect(await boxes('bright-corner', { width: 80, height: 40 }, { left: 40, top: 0 })).toMatchObject({
      detections: [{ box: { x: 40, y: 0, width: 40, height: 40 } }],
    });
    expect(await boxes('bright-stretch', { width: 80, height: 80 }, { left: 0, top: 0 }, 6)).toMatchObject({
      detections: [{ label: '0', box: { x: 40, y: 0 } }],
    });
  });
});

describe('pictures that are none', () => {
  const error = (reason: string) => ({ error: expect.stringContaining(reason) });

  it('are refused when they are broken, of another format, or empty', async () => {
    const jpeg = await sharp({ create: { width: 300, height: 300, channels: 3, background: '#c86432' } })
      .jpeg()
      .toBuffer();
    const half = await served.post('/predict/bytes', jpeg.subarray(0, jpeg.length / 2), 'image/jpeg');
    expect(half).toEqual({ status: 400, body: error("the picture can't be decoded") });
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
    expect(await served.post('/predict/bytes', svg, 'image/png')).toEqual({
      status: 400,
      body: error('no JPEG, PNG or WebP'),
    });
    const gif = await four().gif().toBuffer();
    expect(await served.post('/predict/bytes', gif, 'image/jpeg')).toMatchObject({ status: 400 });
    expect(await served.post('/predict/bytes', gif, 'image/gif')).toEqual({
      status: 415,
      body: error('it takes image/jpeg, image/png, image/webp, multipart/form-data'),
    });
    expect(await served.post('/predict/bytes', Buffer.alloc(0), 'image/png')).toMatchObject({ status: 400 });
  });

  it('are refused before they are decoded when they claim to be huge', async () => {
    const bomb = Buffer.from(
      await sharp({ create: { width: 8, height: 8, channels: 3, background: '#000' } })
        .jpeg()
        .toBuffer(),
    );
    const frame = bomb.indexOf(Buffer.from([0xff, 0xc0]));
    bomb.writeUInt16BE(60_000, frame + 5);
    bomb.writeUInt16BE(60_000, frame + 7);
    expect(await served.post('/predict/bytes', bomb, 'image/jpeg')).toEqual({ status: 413, body: error('pixels') });
  });
});

describe('manifests that contradict the model', () => {
  const load = (type: 'float' | 'uint8' | 'int64', shape: number[], manifest: ManifestInput) =>
    served.load('wrong', identity(type, shape), manifest);

  it('are refused at load with the field', async () => {
    await expect(load('float', [1, 3, 4, 4], takes({}))).rejects.toThrow('inputs.x.image: [1,3,2,2] does not fit');
    await expect(load('uint8', [1, 3, 2, 2], takes({ scale: 2 }))).rejects.toThrow('takes the pixels as they are');
    await expect(load('int64', [1, 3, 2, 2], takes({}))).rejects.toThrow('FP32, FP16 and UINT8');
    await expect(load('float', [1, 3, 2, 2], takes({ mean: [1, 2] }))).rejects.toThrow('2 values for 3 channels');
    const both = { inputs: { x: { image: { width: 2, height: 2 }, value: 1 } } };
    await expect(load('float', [1, 3, 2, 2], both)).rejects.toThrow('one of image and value');
    await expect(load('float', [1, 3, 2, 2], takes({ padAt: 'center' }))).rejects.toThrow(
      'padAt: is for "crop": "pad"',
    );
    const nowhere: ManifestInput = { ...takes({}), outputs: { detection: { boxes: 'b', scores: 'y' } } };
    await expect(load('float', [1, 3, 2, 2], nowhere)).rejects.toThrow('no output "b"');
    const table: ManifestInput = { ...takes({}), outputs: { labels: ['a'], detection: { table: 'y' } } };
    await expect(load('float', [1, 3, 2, 2], table)).rejects.toThrow('detection.table: its table [1,3,2,2]');
    await expect(load('float', [2, 9], { inputs: { x: { audio: { sampleRate: 1 } } } })).rejects.toThrow('one channel');
    await expect(load('float', [2, 2], { inputs: { x: { value: [1, 2] } } })).rejects.toThrow('2 values for [2,2]');
  });
});
