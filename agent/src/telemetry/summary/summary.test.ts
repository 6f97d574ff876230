import { Manifest, type ManifestInput } from '@edgeloop/shared/manifest';
import { interpret } from '@edgeloop/shared/meaning/interpretation';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';
import { describe, expect, it } from 'vitest';
import { summaryFields } from './fields.ts';
import { type Summarisable, summariesOf } from './request.ts';

function spec(name: string, shape: number[], datatype: TensorSpec['datatype'] = 'FP32'): TensorSpec {
  return { name, shape, datatype };
}

function tensor(name: string, shape: number[], values: ArrayLike<number>): NamedTensor {
  return { name, datatype: 'FP32', shape, data: Float32Array.from(values) };
}

/** By the name of its signal, what a model's summary says. */
function told(
  { inputs, outputs, ...said }: ManifestInput & { inputs?: object; outputs?: object },
  signature: Pick<ModelSignature, 'inputs' | 'outputs'>,
  request: Omit<Summarisable, 'rows'> & { rows?: number },
) {
  const manifest = Manifest.parse({ ...said, inputs, outputs });
  const interpretation = interpret(manifest, signature);
  const { summaries, texts } = summariesOf({ interpretation, manifest }, { rows: 1, ...request });
  const values = summaries.flatMap(({ of, name, values: each }) => {
    if (of === 'values') return [[name, each] as const];
    const fields = summaryFields[of === 'picture' ? 'picture' : of === 'sound' ? 'sound' : 'tensor'];
    return fields.map((field, at) => [`${name}:${field}`, each.filter((_, i) => i % fields.length === at)] as const);
  });
  return { values: Object.fromEntries(values), texts };
}

const side = 32;

/** RGB planes from 0 to 255 of what `pixel` says. */
function picture(pixel: (x: number, y: number) => [number, number, number]): number[] {
  const planes: number[] = [];
  for (let channel = 0; channel < 3; channel++)
    for (let y = 0; y < side; y++) for (let x = 0; x < side; x++) planes.push(pixel(x, y)[channel] ?? 0);
  return planes;
}

function looks(planes: number[], image: object = {}, original?: { width: number; height: number }) {
  const { values } = told(
    { task: 'generic', inputs: { image: { image: { width: side, height: side, ...image } } } },
    { inputs: [spec('image', [1, 3, side, side])], outputs: [spec('y', [1, 1])] },
    { inputs: [tensor('image', [1, 3, side, side], planes)], outputs: [], picture: original },
  );
  const of = (field: string) => values[`input:image:${field}`]?.[0] ?? Number.NaN;
  return {
    brightness: of('brightness'),
    contrast: of('contrast'),
    saturation: of('saturation'),
    warmth: of('warmth'),
    sharpness: of('sharpness'),
    blur: of('blur'),
    aspect: of('aspect'),
  };
}

const gray = (value: number): [number, number, number] => [value, value, value];
const checks = (x: number, y: number) => gray((Math.floor(x / 2) + Math.floor(y / 2)) % 2 ? 200 : 50);
/** Each pixel unlike its neighbours. */
const grain = (x: number, y: number) => gray(50 + ((x * 7919 + y * 104_729 + x * y * 31) % 150));
const wave = (x: number) => gray(125 + 75 * Math.sin(x / 5));

describe('the summary of a picture', () => {
  it('says how bright, colourful and sharp it is, whatever the model wants its pixels to be', () => {
    const plain = looks(picture(checks));
    expect(plain.brightness).toBeCloseTo(125 / 255, 1);
    expect(plain.contrast).toBeCloseTo(75 / 255, 1);
    expect([plain.saturation, plain.warmth, plain.aspect]).toEqual([0, 0, 1]);
    const image = { scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
    const scaled = picture(checks).map((value, at) => {
      const channel = Math.floor(at / side ** 2);
      return (value / 255 - (image.mean[channel] ?? 0)) / (image.std[channel] ?? 1);
    });
    for (const [field, value] of Object.entries(looks(scaled, image)))
      expect(value, field).toBeCloseTo(plain[field as keyof typeof plain], 3);
  });

  it('tells dark from bright, a warm light from a cold one, and sharp from blurred', () => {
    expect(looks(picture(() => gray(10))).brightness).toBeLessThan(0.1);
    expect(looks(picture(() => [200, 100, 50])).warmth).toBeGreaterThan(0.5);
    expect(
      looks(
        picture(() => [50, 100, 200]),
        { color: 'bgr' },
      ).warmth,
    ).toBeGreaterThan(0.5);
    expect(looks(picture(() => [200, 100, 50])).saturation).toBeGreaterThan(0.5);
    const [sharp, blurred] = [looks(picture(grain)), looks(picture(wave))];
    expect(sharp.sharpness).toBeGreaterThan(3 * blurred.sharpness);
    expect(blurred.blur).toBeGreaterThan(sharp.blur + 0.4);
    expect(looks(picture(() => gray(100))).blur).toBeNaN();
    expect(looks(picture(checks), {}, { width: 1920, height: 1080 }).aspect).toBeCloseTo(16 / 9, 3);
  });
});

describe('the summary of a sound', () => {
  const rate = 16_000;
  const sound = (sample: (at: number) => number) => {
    const { values } = told(
      { inputs: { wave: { audio: { sampleRate: rate } } } },
      { inputs: [spec('wave', [1, rate])], outputs: [spec('y', [1, 1])] },
      {
        inputs: [
          tensor(
            'wave',
            [1, rate],
            Array.from({ length: rate }, (_, at) => sample(at)),
          ),
        ],
        outputs: [],
      },
    );
    return Object.fromEntries(
      summaryFields.sound.map((field) => [field, values[`input:wave:${field}`]?.[0] ?? Number.NaN]),
    );
  };
  const tone = (hertz: number, loud: number) => (at: number) => loud * Math.sin((2 * Math.PI * hertz * at) / rate);

  it('says how loud and how high it is', () => {
    expect(sound(tone(440, 0.5)).loudness).toBeCloseTo(20 * Math.log10(0.5 / Math.SQRT2), 0);
    expect(Math.abs((sound(tone(440, 0.5)).centroid ?? 0) - 440)).toBeLessThan(40);
    expect(Math.abs((sound(tone(5000, 0.5)).centroid ?? 0) - 5000)).toBeLessThan(100);
  });

  it('tells silence and clipping', () => {
    expect(sound(() => 0)).toEqual({ loudness: -100, silence: 1, clipping: 0, centroid: Number.NaN });
    const clipped = sound((at) => Math.max(-1, Math.min(1, tone(440, 4)(at))));
    expect(clipped.clipping).toBeGreaterThan(0.5);
    expect(sound((at) => (at < rate / 2 ? 0 : tone(440, 0.5)(at))).silence).toBeCloseTo(0.5, 1);
  });
});

describe('the summary of other tensors', () => {
  const model = { inputs: [spec('x', [-1, 4]), spec('k', [1])], outputs: [spec('y', [-1, 3])] };

  it('has moments, range, zeros and what is no number, and nothing of what the server fills in', () => {
    const x = tensor('x', [2, 4], [0, 0, 1, 3, Number.NaN, Number.POSITIVE_INFINITY, -4, 6]);
    const { values } = told({ inputs: { k: { value: 1 } } }, model, {
      inputs: [x, tensor('k', [1], [1])],
      outputs: [],
    });
    const of = (field: string) => values[`input:x:${field}`]?.[0];
    expect([of('mean'), of('zeros'), of('nan'), of('infinite'), of('low'), of('high'), of('elements')]).toEqual([
      ...[1, 0.25, 0.125, 0.125, -4, 6, 8],
    ]);
    expect(of('deviation')).toBeCloseTo(3.055, 3);
    expect(Object.keys(values).some((name) => name.startsWith('input:k'))).toBe(false);
  });

  it('looks at some of a large one', () => {
    const large = tensor(
      'x',
      [25_000, 4],
      Array.from({ length: 100_000 }, (_, at) => at % 10),
    );
    const { values } = told({}, model, { inputs: [large], outputs: [], rows: 25_000 });
    expect(values['input:x:mean']?.[0]).toBeCloseTo(4.5, 1);
  });
});

describe('the summary of features', () => {
  const signature = {
    inputs: [spec('x', [-1, 2]), spec('site', [-1, 1], 'BYTES')],
    outputs: [spec('y', [-1, 1])],
  };
  const inputs = { x: { features: ['a', 'b'] }, site: { features: ['site'] } };

  it('has texts by name, with the numbers beside them', () => {
    const site: NamedTensor = { name: 'site', datatype: 'BYTES', shape: [2, 1], data: ['north', 'south'] };
    const request = { inputs: [tensor('x', [2, 2], [1, 2, 3, Number.NaN]), site], outputs: [], rows: 2 };
    const { values, texts } = told({ inputs }, signature, request);
    expect(values).toEqual({ a: [1, 3], b: [2, Number.NaN] });
    expect(texts).toEqual({ site: ['north', 'south'] });
  });

  it('has nothing of what the journal holds anyway, and all of it where that is switched off', () => {
    const numbers = { inputs: [spec('x', [-1, 2])], outputs: [spec('y', [-1, 1])] };
    const request = { inputs: [tensor('x', [1, 2], [1, 2])], outputs: [] };
    const said = { inputs: { x: { features: ['a', 'b'] } } };
    expect(told(said, numbers, request).values).toEqual({});
    expect(told({ ...said, capture: { labelledRate: 0 } }, numbers, request).values).toEqual({ a: [1], b: [2] });
  });
});

describe('the summary of an answer', () => {
  const inputs = [tensor('x', [2, 4], [1, 2, 3, 4, 5, 6, 7, 8])];

  it('says how undecided a classifier was, of shares and of logits', () => {
    const signature = { inputs: [spec('x', [-1, 4])], outputs: [spec('y', [-1, 2])] };
    const said = { task: 'classification' as const, outputs: { labels: ['a', 'b'] } };
    const entropy = (scores: number[]) =>
      told(said, signature, { inputs, outputs: [tensor('y', [2, 2], scores)], rows: 2 }).values['output:entropy'];
    expect(entropy([0.5, 0.5, 1, 0])).toEqual([1, 0]);
    expect(entropy([3, 3, -40, 40])).toEqual([1, expect.closeTo(0, 9)]);
  });

  it('has the values of a regression by name', () => {
    const signature = { inputs: [spec('x', [-1, 4])], outputs: [spec('y', [-1, 2])] };
    const said = { task: 'regression' as const, outputs: { labels: ['low', 'high'] } };
    const { values } = told(said, signature, { inputs, outputs: [tensor('y', [2, 2], [1, 2, 3, 4])], rows: 2 });
    expect(values).toMatchObject({ 'output:low': [1, 3], 'output:high': [2, 4] });
  });

  it('has the moments of outputs that are too wide', () => {
    const signature = { inputs: [spec('x', [-1, 4])], outputs: [spec('y', [-1, 100])] };
    const { values } = told({}, signature, {
      inputs,
      outputs: [tensor('y', [2, 100], new Array(200).fill(2))],
      rows: 2,
    });
    expect(values['output:y:mean']).toEqual([2]);
  });

  it('has the boxes in a picture with their scores and classes', () => {
    const { values, texts } = told(
      {
        task: 'detection',
        inputs: { image: { image: { width: side, height: side } } },
        outputs: { labels: ['cat', 'dog'], detection: { boxes: 'boxes', scores: 'scores', normalised: false } },
      },
      { inputs: [spec('image', [1, 3, side, side])], outputs: [spec('boxes', [1, 3, 4]), spec('scores', [1, 3, 2])] },
      {
        inputs: [tensor('image', [1, 3, side, side], picture(checks))],
        outputs: [
          tensor('boxes', [1, 3, 4], [0, 0, 16, 16, 16, 16, 32, 32, 0, 0, 4, 4]),
          tensor('scores', [1, 3, 2], [0.9, 0.1, 0.2, 0.75, 0.1, 0.1]),
        ],
      },
    );
    expect(values).toMatchObject({
      'output:boxes': [2],
      'output:box-score': [0.9, 0.75],
      'output:box-area': [0.25, 0.25],
    });
    expect(texts).toEqual({ 'output:box-classes': ['cat', 'dog'] });
  });
});
