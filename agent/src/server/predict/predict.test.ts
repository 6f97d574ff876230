import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { encodeGraph, identity, softmaxClassifier } from '../../../../test/support/onnx-models.ts';
import { servePredict } from './predict-fixture.ts';
import { encodeWav } from './wav-fixture.ts';

const served = await servePredict();
const { post } = served;

/** Two inputs added: one of features, one constant. */
const adding = encodeGraph({
  inputs: [
    { name: 'x', type: 'float', dims: ['n', 2] },
    { name: 'offset', type: 'float', dims: [1, 2] },
  ],
  outputs: [{ name: 'y', type: 'float', dims: ['n', 2] }],
  nodes: [{ opType: 'Add', inputs: ['x', 'offset'], outputs: ['y'] }],
});

/** `x` [n, 2] -> the sum `y` of each row, with 100 for what is NaN. */
const imputing = encodeGraph({
  inputs: [{ name: 'x', type: 'float', dims: ['n', 2] }],
  outputs: [{ name: 'y', type: 'float', dims: ['n', 1] }],
  initializers: [
    { name: 'hundred', dims: [1], data: Float32Array.of(100) },
    { name: 'ones', dims: [2, 1], data: Float32Array.of(1, 1) },
  ],
  nodes: [
    { opType: 'IsNaN', inputs: ['x'], outputs: ['gap'] },
    { opType: 'Where', inputs: ['gap', 'hundred', 'x'], outputs: ['whole'] },
    { opType: 'MatMul', inputs: ['whole', 'ones'], outputs: ['y'] },
  ],
});

beforeAll(async () => {
  const weights = [
    [5, 0, 0],
    [0, 5, 0],
  ];
  await served.load('sides', softmaxClassifier(weights, [0, 0, 1]), {
    task: 'classification',
    inputs: { features: { features: ['width', 'height'] } },
    outputs: { labels: ['wide', 'high', 'small'] },
    monitoring: { reference: { rows: 4, features: { width: { edges: [0, 2, 4], counts: [0, 1, 3, 0, 0] } } } },
  });
  await served.load('logits', identity('float', ['n', 2]), {
    task: 'classification',
    inputs: { x: { features: ['a', 'b'] } },
    outputs: { activation: 'softmax' },
  });
  await served.load('sum', adding, {
    task: 'regression',
    inputs: { x: { features: ['day', 'night'] }, offset: { value: [10, 20] } },
    outputs: { labels: ['by day', 'by night'] },
  });
  await served.load('pump', identity('float', ['n', 1]), {
    task: 'anomaly',
    inputs: { x: { features: ['vibration'] } },
    outputs: { threshold: 4 },
  });
  await served.load('lone', identity('float', [1, 2]), { inputs: { x: { features: ['a', 'b'] } } });
  await served.load('counts', identity('int64', ['n', 1]), { inputs: { x: { features: ['count'] } } });
  await served.load('words', identity('string', ['n', 1]), { inputs: { x: { features: ['word'] } } });
  await served.load('sound', identity('float', [1, 'samples']), {
    inputs: { x: { audio: { sampleRate: 8000 } } },
  });
  await served.load('exact', identity('float', [1, 'samples']), {
    inputs: { x: { audio: { sampleRate: 8000, resample: false } } },
  });
  await served.load('beat', identity('float', [4]), { inputs: { x: { audio: { sampleRate: 8000 } } } });
  await served.load('unsaid', identity('float', [1, 2]), {});
});
beforeEach(() => {
  served.observed.length = 0;
});
afterAll(() => served.close());

/** `x` [n, 1] through one operator to `y`, whose first dimension is said to be `rows`. */
function along(opType: 'Softmax' | 'CumSum' | 'ReduceMean', rows: string | number): Uint8Array {
  const zero = { name: 'zero', dims: [], data: BigInt64Array.of(0n) };
  const attributes = opType === 'Softmax' ? [{ name: 'axis', int: 0 }] : [{ name: 'axes', ints: [0] }];
  return encodeGraph({
    inputs: [{ name: 'x', type: 'float', dims: ['n', 1] }],
    outputs: [{ name: 'y', type: 'float', dims: [rows, 1] }],
    initializers: [zero],
    nodes: [
      opType === 'CumSum'
        ? { opType, inputs: ['x', 'zero'], outputs: ['y'] }
        : { opType, inputs: ['x'], outputs: ['y'], attributes },
    ],
  });
}

const error = (reason: string) => ({ error: expect.stringContaining(reason) });

describe('rows of a model that takes something over all of them', () => {
  const manifest = { task: 'regression' as const, inputs: { x: { features: ['a'] } } };
  const rows = [[3], [4], [8]];

  it.each([
    ['Softmax', [1, 1, 1]],
    ['CumSum', [3, 4, 8]],
  ] as const)('are answered each by itself (%s)', async (opType, values) => {
    await served.load(opType, along(opType, 'n'), manifest);
    const expected = { predictions: values.map((value) => ({ value })) };
    expect(await post(`/predict/${opType}`, { rows })).toMatchObject({ status: 200, body: expected });
    expect(served.observed).toHaveLength(1);
    expect(served.observed[0]?.outcome).toMatchObject({ result: { outputs: [{ shape: [3, 1] }] } });
  });

  it('make one answer where the model gives one, whether it says so or not', async () => {
    await served.load('mean', along('ReduceMean', 1), manifest);
    await served.load('some', along('ReduceMean', 'm'), manifest);
    for (const name of ['mean', 'some'])
      expect(await post(`/predict/${name}`, { rows })).toMatchObject({
        status: 200,
        body: { value: 5 },
      });
  });

  it('are tensors as they are to those who send tensors', async () => {
    await served.load('running', along('CumSum', 'n'), manifest);
    const inputs = [{ name: 'x', datatype: 'FP32', shape: [3, 1], data: [3, 4, 8] }];
    expect((await post('/v2/models/running/infer', { inputs })).body).toMatchObject({
      outputs: [{ data: [3, 7, 15] }],
    });
  });

  it('run one by one, too, where the operator forbids to join what is proved', async () => {
    await served.load('twice', identity('float', ['n', 1]), { ...manifest, batching: { maxBatch: 1 } });
    expect((await post('/predict/twice', { rows })).body).toEqual(
      expect.objectContaining({ predictions: [{ value: 3 }, { value: 4 }, { value: 8 }] }),
    );
  });
});

describe('rows of features', () => {
  it('answers each of several rows, as rows or as a list, by name or in order', async () => {
    const rows = [{ height: 2, width: 0 }, [2, 0]];
    const expected = { predictions: [{ label: 'high' }, { label: 'wide' }], model: 'sides', version: 1 };
    expect(await post('/predict/sides', { rows })).toMatchObject({ status: 200, body: expected });
    expect(await post('/predict/sides/versions/1', rows)).toMatchObject({ status: 200, body: expected });
    expect(served.observed[0]?.outcome).toMatchObject({ inputs: [{ shape: [2, 2] }] });
  });

  it('lists the best classes on request', async () => {
    const { body } = await post('/predict/sides?top=2', { features: { width: 1, height: 0 } });
    expect(body).toMatchObject({ label: 'wide', top: [{ label: 'wide' }, { label: 'small' }] });
    expect(await post('/predict/sides?top=0', { features: [0, 0] })).toMatchObject({ status: 400, body: error('top') });
  });

  it('makes probabilities of logits when the manifest says so', async () => {
    const { body } = await post('/predict/logits', { features: [Math.log(3), 0] });
    expect(body).toMatchObject({ label: '0', score: expect.closeTo(0.75, 5), scores: { 1: expect.closeTo(0.25, 5) } });
  });

  it('names the values of a regression, and fills in what the manifest holds', async () => {
    expect((await post('/predict/sum', { features: { day: 1, night: 2 } })).body).toMatchObject({
      values: { 'by day': 11, 'by night': 22 },
    });
    const other = { features: [1, 2], inputs: { offset: [[0, 1]] } };
    expect((await post('/predict/sum', other)).body).toMatchObject({ values: { 'by day': 1, 'by night': 3 } });
    const unknown = { features: [1, 2], inputs: { ofset: 1 } };
    expect((await post('/predict/sum', unknown)).body).toEqual(error('unknown input "ofset" (did you mean "offset"?)'));
    const long = { features: [1, 2], inputs: { offset: [1, 2, 3] } };
    expect((await post('/predict/sum', long)).body).toEqual(error('inputs.offset: 3 values for [1,2]'));
  });

  it('holds an anomaly against its threshold', async () => {
    const { body } = await post('/predict/pump', { rows: [[3], [4]] });
    expect(body).toMatchObject({
      predictions: [
        { score: 3, threshold: 4, anomalous: false },
        { score: 4, threshold: 4, anomalous: true },
      ],
    });
  });

  it('keeps integers beyond 2^53 and texts as they are', async () => {
    const digits = '9007199254740993';
    expect((await post('/predict/counts', { features: { count: digits } })).body).toMatchObject({ value: digits });
    expect((await post('/predict/counts', `count\n${digits}\n`, 'text/csv')).body).toMatchObject({
      predictions: [{ value: digits }],
    });
    expect((await post('/predict/words', { features: { word: 'où' } })).body).toMatchObject({ value: 'où' });
    expect((await post('/predict/words', { features: { word: 1 } })).body).toEqual(
      error('"word" must be a text, not 1'),
    );
  });

  it.each([
    [{ features: { widht: 1, height: 1 } }, 'unknown feature "widht" (did you mean "width"?)'],
    [{ features: { weather: 1 } }, 'unknown feature "weather"'],
    [{ rows: [[1, 2], { width: 1 }] }, 'row 2: feature "height" is missing'],
    [
      {
        rows: [
          [1, 2],
          [1, 'x'],
        ],
      },
      'row 2: feature "height" must be a number, not "x"',
    ],
    [{ rows: [[1, 2], [1]] }, 'row 2: rows.1 has 1 values, the model takes 2'],
    [{ rows: [] }, 'request.rows'],
    [{ rows: [[1, 2]], features: [1, 2] }, 'both features and rows'],
    [{}, 'the model takes features'],
  ])('says what is wrong with %j', async (body, reason) => {
    expect(await post('/predict/sides', body)).toEqual({ status: 400, body: error(reason) });
    expect(served.observed).toMatchObject([{ outcome: { error: expect.anything() } }]);
  });

  it('says when a model takes one row at a time', async () => {
    expect((await post('/predict/lone', { rows: [[1, 2]] })).body).toMatchObject({ outputs: [{ data: [1, 2] }] });
    expect(
      await post('/predict/lone', {
        rows: [
          [1, 2],
          [3, 4],
        ],
      }),
    ).toEqual({
      status: 400,
      body: error('takes one row at a time, the request has 2'),
    });
  });
});

describe('features without a value', () => {
  const impute = { features: ['a', 'b'] };
  beforeAll(async () => {
    await served.load('imputing', imputing, { task: 'regression', inputs: { x: impute } });
    await served.load('strict', imputing, { inputs: { x: { ...impute, missing: 'refuse' } } });
    await served.load('filled', imputing, {
      inputs: { x: { ...impute, defaults: { a: 4 } } },
      monitoring: { reference: { rows: 1, features: { a: { edges: [0, 1], counts: [0, 1, 0, 0] } } } },
    });
    await served.load('whole', identity('int64', ['n', 1]), {
      inputs: { x: { features: ['n'], defaults: { n: '9007199254740993' } } },
    });
    await served.load('wordy', identity('string', ['n', 1]), {
      inputs: { x: { features: ['word'], defaults: { word: 'none' } } },
    });
    await served.load('allowed', identity('float', ['n', 1]), { inputs: { x: { features: ['a'], missing: 'nan' } } });
    await served.load('half', identity('float16', ['n', 2]), { task: 'regression', inputs: { x: impute } });
  });

  it.each([{ a: null, b: 1 }, [null, 1], { a: 'NaN', b: 1 }])('go in as NaN: %j', async (features) => {
    expect(await post('/predict/imputing', { features })).toMatchObject({ status: 200, body: { value: 101 } });
  });

  it.each(['', 'NA', 'n/a', '#N/A', 'NaN', 'null', 'None', '?', ' '])('are found in CSV as %j', async (cell) => {
    const { body } = await post('/predict/imputing', `a,b\n2,3\n${cell},1\n`, 'text/csv');
    expect(body).toMatchObject({ predictions: [{ value: 5 }, { value: 101 }] });
  });

  it('are refused by name where the model answers NaN, whichever row it is', async () => {
    const lone = await post('/predict/sides', { features: { width: null, height: 1 } });
    expect(lone).toEqual({
      status: 400,
      body: error('feature "width" is missing, and the model makes nothing of that'),
    });
    expect(lone.body).toEqual(error('inputs.features.defaults.width'));
    expect(served.observed[0]?.outcome).toMatchObject({ error: { code: 'invalid_request' } });
    const rows = [[1, 2], { width: 1, height: null }, [3, 4]];
    expect((await post('/predict/sides', { rows })).body).toEqual(error('row 2: feature "height" is missing'));
    expect((await post('/predict/half', { features: [null, 1] })).status).toBe(200);
    expect((await post('/predict/half', { features: [null, null] })).body).toEqual(error('"a" is missing'));
    expect((await post('/predict/allowed', { features: [null] })).body).toMatchObject({ value: 'NaN' });
  });

  it('are refused by inputs that have no NaN, and by the manifest', async () => {
    expect((await post('/predict/counts', { features: { count: null } })).body).toEqual(
      error('feature "count" is missing (null), and input "x" (INT64) takes no missing values'),
    );
    expect((await post('/predict/words', { features: [null] })).body).toEqual(error('send a text'));
    expect((await post('/predict/strict', { features: [1, null] })).body).toEqual(
      error('feature "b" is missing (null)'),
    );
    expect((await post('/predict/strict', 'a,b\n1,\n', 'text/csv')).body).toEqual(
      error('row 1: feature "b" is missing'),
    );
  });

  it('take the default of the manifest, also where they are left out, and are recorded as missing', async () => {
    for (const features of [{ b: 1 }, { a: null, b: 1 }, [null, 1]]) {
      expect((await post('/predict/filled', { features })).body).toMatchObject({ value: 5 });
    }
    expect((await post('/predict/filled', 'b\n1\n', 'text/csv')).body).toMatchObject({ predictions: [{ value: 5 }] });
    expect((await post('/predict/filled', { features: { a: 1 } })).body).toEqual(error('feature "b" is missing'));
    expect(served.observed[0]?.outcome).toMatchObject({ missing: [{ row: 0, column: 0 }] });
    expect((await post('/predict/whole', 'n\n\n""\n', 'text/csv')).body).toMatchObject({
      predictions: [{ value: '9007199254740993' }],
    });
    expect((await post('/predict/wordy', { features: {} })).body).toMatchObject({ value: 'none' });
    expect((await served.get('/predict/filled')).body).toMatchObject({
      features: [{ name: 'a', default: 4, missing: 'nan' }, { name: 'b' }],
    });
  });

  it('are described by a manifest that fits the model', async () => {
    const load = (input: object) => served.load('wrong', identity('int64', ['n', 1]), { inputs: { x: input } });
    await expect(load({ features: ['n'], missing: 'nan' })).rejects.toThrow('inputs.x.missing: INT64 has no NaN');
    await expect(load({ features: ['n'], defaults: { m: 1 } })).rejects.toThrow('names "m", which is none');
    await expect(load({ features: ['n'], defaults: { n: 0.5 } })).rejects.toThrow('inputs.x.defaults.n: must be');
    await expect(load({ value: 1, missing: 'refuse' })).rejects.toThrow('inputs.x.missing: is for inputs with');
  });
});

describe('CSV', () => {
  it.each([
    ['commas', 'height,width\n2,0\n0,2\n'],
    ['semicolons, a byte order mark and blanks', '\ufeffheight ; width\r\n 2;0\r\n\r\n0;2\r\n'],
    ['tabs and quotes', '"height"\t"width"\n"2"\t0\n0\t2.0e0'],
  ])('takes %s in any order of columns', async (_, text) => {
    const { body } = await post('/predict/sides', text, 'text/csv; charset=utf-8');
    expect(body).toMatchObject({ predictions: [{ label: 'high' }, { label: 'wide' }] });
  });

  it.each([
    ['width,hight\n1,2\n', 'CSV header: unknown feature "hight" (did you mean "height"?)'],
    ['width\n1\n', 'CSV header: feature "height" is missing'],
    ['width,width,height\n1,2,3\n', 'feature "width" is given twice'],
    ['width,height\n1,2\n3,\n', 'row 2: feature "height" is missing, and the model makes nothing of that'],
    ['width,height\n1,2\n3,4,5\n', 'CSV: Invalid Record Length'],
    ['width,height\n1,0x10\n', 'row 1: feature "height" must be a number, not "0x10"'],
    ['width,height\n', 'CSV needs a header row'],
    ['', 'CSV needs a header row'],
    ['width,height\n1,"2', 'CSV: Quote Not Closed'],
  ])('says what is wrong with %j', async (text, reason) => {
    expect(await post('/predict/sides', text, 'text/csv')).toEqual({ status: 400, body: error(reason) });
  });
});

describe('recordings', () => {
  const wav = encodeWav(
    [
      [0.5, 0],
      [-1, 0],
      [0, 0],
      [0.25, 0.25],
    ],
    { bits: 16, float: false, sampleRate: 8000 },
  );
  const samples = [0.25, -0.5, 0, 0.25];

  it('go into the model as one channel, from a body or a form', async () => {
    const expected = { outputs: [{ shape: [1, 4], data: samples }] };
    expect((await post('/predict/sound', wav, 'audio/wav')).body).toMatchObject(expected);
    expect((await post('/predict/sound', wav)).body).toMatchObject(expected);
    const form = new FormData();
    form.set('id', 'mine');
    form.set('recording', new Blob([new Uint8Array(wav)]), 'a.wav');
    expect((await post('/predict/sound', form)).body).toMatchObject({ ...expected, id: 'mine' });
    expect((await post('/predict/beat', wav, 'audio/x-wav')).body).toMatchObject({
      outputs: [{ shape: [4], data: samples }],
    });
  });

  it('are refused at another rate or length, and with the reason', async () => {
    const fast = encodeWav([[0]], { bits: 16, float: false, sampleRate: 44_100 });
    const reason = 'has 44100 samples a second, the model takes 8000, and its manifest says not to resample';
    expect(await post('/predict/exact', fast, 'audio/wav')).toEqual({ status: 400, body: error(reason) });
    const short = encodeWav([[0]], { bits: 16, float: false, sampleRate: 8000 });
    expect((await post('/predict/beat', short, 'audio/wav')).body).toEqual(
      error('has 1 samples, the model takes 4 (0.0005 s); "hop" in its manifest would take any length'),
    );
    expect((await post('/predict/sound', 'RIFF', 'audio/wav')).body).toEqual(error('no RIFF WAVE file'));
  });
});

describe('other bodies', () => {
  it.each([
    ['sides', 'audio/wav', 'can\'t take "audio/wav"; it takes application/json, text/csv'],
    ['sides', 'application/xml', 'it takes application/json, text/csv'],
    ['sides', 'constructor', 'it takes application/json, text/csv'],
    ['sound', 'application/json', 'it takes audio/wav, multipart/form-data'],
    ['unsaid', 'text/csv', 'its manifest says nothing of its inputs'],
  ])('are refused by %s: %s', async (model, type, reason) => {
    expect(await post(`/predict/${model}`, 'x', type)).toEqual({ status: 415, body: error(reason) });
  });

  it('names the other way where the manifest says nothing', async () => {
    const reason = 'names no features; use POST /v2/models/unsaid/infer';
    expect(await post('/predict/unsaid', { features: [1, 2] })).toEqual({ status: 400, body: error(reason) });
    expect(await post('/predict/unsaid', {})).toEqual({ status: 400, body: error(reason) });
  });

  it('refuses broken and crowded forms', async () => {
    expect((await post('/predict/sound', 'x', 'multipart/form-data')).body).toEqual(error("form can't be read"));
    const form = new FormData();
    form.set('a', new Blob(['x']), 'a.wav');
    expect((await post('/predict/sound', form)).body).toEqual(error('takes a WAV file, the file is none'));
    form.set('b', new Blob(['x']), 'b.wav');
    expect((await post('/predict/sound', form)).body).toEqual(error('the form has 2 files, send one'));
  });
});

describe('the description of a model', () => {
  it('says what it takes, with the reference of its features', async () => {
    expect((await served.get('/predict/sides')).body).toMatchObject({
      name: 'sides',
      task: 'classification',
      takes: ['application/json', 'text/csv'],
      features: [
        { name: 'width', input: 'features', datatype: 'FP32', reference: { low: 0, middle: 3, high: 4 } },
        { name: 'height' },
      ],
      labels: ['wide', 'high', 'small'],
    });
    expect((await served.get('/predict/sound')).body).toMatchObject({ sounds: [{ input: 'x', sampleRate: 8000 }] });
    expect((await served.get('/predict/nobody')).status).toBe(404);
  });
});
