// What `/predict` makes of the outputs of models as people export them.

import type { ManifestInput } from '@edgeloop/shared/manifest';
import { rowsOf } from '@edgeloop/shared/meaning/interpretation';
import { predictionsOf } from '@edgeloop/shared/meaning/predictions';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { mlClassifier } from '../../../../shared/src/onnx/classifier-fixture.ts';
import { encodeGraph, identity } from '../../../../test/support/onnx-models.ts';
import { servePredict } from './predict-fixture.ts';

const served = await servePredict();
const { post } = served;
const iris = [
  [1, 0],
  [0, 1],
  [0, 0],
];
const names = ['setosa', 'versicolor', 'virginica'];
const features = { features: ['a', 'b'] };
const node = (opType: string, inputs: string[], output: string, axes?: number[]) => ({
  opType,
  inputs,
  outputs: [output],
  ...(axes && {
    attributes: [
      { name: 'axes', ints: axes },
      { name: 'keepdims', int: 0 },
    ],
  }),
});

/** `x` [dims] -> the mean over its time steps, for each feature. */
const meanOverTime = (dims: readonly (number | string)[]) =>
  encodeGraph({
    inputs: [{ name: 'x', type: 'float', dims }],
    outputs: [{ name: 'y', type: 'float', dims: [dims[0] ?? 1, 2] }],
    nodes: [node('ReduceMean', ['x'], 'y', [1])],
  });

/** `x` [steps, 2] -> the mean of all rows [1, 2]. */
const meanOfRows = encodeGraph({
  inputs: [{ name: 'x', type: 'float', dims: [3, 2] }],
  outputs: [{ name: 'y', type: 'float', dims: [1, 2] }],
  nodes: [
    {
      opType: 'ReduceMean',
      inputs: ['x'],
      outputs: ['y'],
      attributes: [
        { name: 'axes', ints: [0] },
        { name: 'keepdims', int: 1 },
      ],
    },
  ],
});

/** As IsolationForest is exported: `label` [n, 1] of -1 and 1, then `scores` [n, 1], below zero for what is anomalous. */
const isolation = encodeGraph({
  inputs: [{ name: 'x', type: 'float', dims: ['n', 1] }],
  outputs: [
    { name: 'label', type: 'int64', dims: ['n', 1] },
    { name: 'scores', type: 'float', dims: ['n', 1] },
  ],
  nodes: [
    node('Identity', ['x'], 'scores'),
    node('Sign', ['x'], 'sign'),
    { ...node('Cast', ['sign'], 'label'), attributes: [{ name: 'to', int: 7 }] },
  ],
});

/** Two heads of one value each. */
const heads = encodeGraph({
  inputs: [{ name: 'x', type: 'float', dims: ['n', 1] }],
  outputs: [
    { name: 'same', type: 'float', dims: ['n', 1] },
    { name: 'negative', type: 'float', dims: ['n', 1] },
  ],
  nodes: [node('Identity', ['x'], 'same'), node('Neg', ['x'], 'negative')],
});

beforeAll(async () => {
  const classification: ManifestInput = { task: 'classification', inputs: { x: features } };
  await served.load('zip-texts', mlClassifier(iris, names, { zipMap: true }), classification);
  await served.load('zip-numbers', mlClassifier(iris, [10, 20, 30], { zipMap: true, onlyMl: true }), classification);
  const outputs = { labels: ['one', 'two', 'three'] };
  await served.load('renamed', mlClassifier(iris, [10, 20, 30], { zipMap: true, declared: false }), {
    ...classification,
    outputs,
  });
  const one: ManifestInput = { task: 'classification', inputs: { x: { features: ['a'] } } };
  await served.load('sigmoid', identity('float', ['n', 1]), { ...one, outputs: { labels: ['ok', 'worn'] } });
  const window: ManifestInput = {
    task: 'classification',
    inputs: { x: features },
    outputs: { labels: ['left', 'right'] },
  };
  await served.load('window', meanOverTime([1, 't', 2]), window);
  await served.load('windows', meanOverTime(['n', 2, 2]), window);
  await served.load('forecast', meanOfRows, { task: 'regression', inputs: { x: features } });
  await served.load('forecasts', meanOverTime(['n', 2, 2]), { task: 'regression', inputs: { x: features } });
  await served.load('forest', isolation, { task: 'anomaly', inputs: { x: { features: ['v'] } } });
  await served.load('bounded', isolation, {
    task: 'anomaly',
    inputs: { x: { features: ['v'] } },
    outputs: { threshold: -2, anomalous: 'below' },
  });
  await served.load('heads', heads, { task: 'regression', inputs: { x: { features: ['v'] } } });
  await served.load('titled-heads', heads, {
    task: 'regression',
    inputs: { x: { features: ['v'] } },
    outputs: { labels: ['up', 'down'] },
  });
});
beforeEach(() => {
  served.observed.length = 0;
});
afterAll(() => served.close());

async function predicted(model: string, body: unknown): Promise<unknown> {
  const answer = await post(`/predict/${model}`, body);
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return answer.body;
}

/** What the journal gets of the last request. */
function recorded() {
  const observation = served.observed.at(-1);
  if (!observation || !('result' in observation.outcome)) throw new Error('nothing was answered');
  const { scores, featureInputs } = observation.lease.model.interpretation;
  const { inputs, result } = observation.outcome;
  return predictionsOf(scores, result.outputs, rowsOf(featureInputs, inputs));
}

describe('classifiers of scikit-learn', () => {
  it.each([
    ['zip-texts', names],
    ['zip-numbers', ['10', '20', '30']],
    ['renamed', ['one', 'two', 'three']],
  ])('%s: probabilities and records by the names of the classes', async (model, labels) => {
    const body = await predicted(model, { features: { a: 0, b: 3 } });
    expect(body).toMatchObject({ label: labels[1], score: expect.closeTo(0.9094, 3) });
    expect(Object.keys((body as { scores: object }).scores)).toEqual(labels);
    expect(recorded()?.predicted).toEqual([labels[1]]);
    expect((await served.get(`/predict/${model}`)).body).toMatchObject({ labels });
  });

  it('give the tensor of scores to who asks for tensors, joined or alone', async () => {
    const infer = (rows: number[]) =>
      post('/v2/models/zip-texts/infer', {
        inputs: [{ name: 'x', datatype: 'FP32', shape: [rows.length / 2, 2], data: rows }],
      });
    expect((await infer([3, 0, 0, 3])).body).toMatchObject({
      outputs: [
        { name: 'label', datatype: 'BYTES', data: ['setosa', 'versicolor'] },
        { name: 'probabilities', datatype: 'FP32', shape: [2, 3] },
      ],
    });
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => infer(i % 2 ? [3, 0] : [0, 3])));
    const labels = all.map(({ body }) => (body as { outputs: { data: string[] }[] }).outputs[0]?.data[0]);
    // What runs has no ZipMap, so that its rows are proved to stay apart.
    expect((await served.get('/v2/models/zip-texts/config')).body).toMatchObject({ max_batch_size: 32 });
    expect(labels).toEqual(Array.from({ length: 20 }, (_, i) => (i % 2 ? 'setosa' : 'versicolor')));
  });
});

describe('one probability', () => {
  it('is that of the second class', async () => {
    expect(await predicted('sigmoid', { rows: [[0.9], [0.2]] })).toMatchObject({
      predictions: [
        { label: 'worn', score: expect.closeTo(0.9, 5) },
        { label: 'ok', score: expect.closeTo(0.8, 5), scores: { worn: expect.closeTo(0.2, 5) } },
      ],
    });
    expect(recorded()?.predicted).toEqual(['worn', 'ok']);
  });
});

describe('windows of rows', () => {
  const rows = [
    [1, 0],
    [2, 0],
    [0, 1],
    [0, 2],
  ];

  it('have one answer, however many rows go in', async () => {
    expect(await predicted('window', { rows: rows.slice(0, 3) })).toMatchObject({ label: 'left', score: 1 });
    expect(recorded()?.predicted).toEqual(['left']);
    expect(await predicted('forecast', { rows: rows.slice(0, 3) })).toMatchObject({
      values: [1, expect.closeTo(1 / 3, 5)],
    });
  });

  it('have one each where several go in', async () => {
    expect(await predicted('windows', { rows })).toMatchObject({
      predictions: [{ label: 'left' }, { label: 'right' }],
    });
    expect(await predicted('forecasts', { rows })).toMatchObject({
      predictions: [{ values: [1.5, 0] }, { values: [0, 1.5] }],
    });
    const odd = await post('/predict/windows', { rows: rows.slice(0, 3) });
    const reason = 'takes 2 rows at a time, or a multiple of that, the request has 3';
    expect(odd).toMatchObject({ status: 400, body: { error: expect.stringContaining(reason) } });
    const few = await post('/predict/forecast', { rows: rows.slice(0, 2) });
    expect(few.body).toMatchObject({ error: expect.stringContaining('takes 3 rows at a time, the request has 2') });
  });
});

describe('detectors of anomalies', () => {
  it('tell their own verdict beside the score', async () => {
    expect(await predicted('forest', { rows: [[-0.5], [0.5]] })).toMatchObject({
      predictions: [
        { label: '-1', score: -0.5, anomalous: true },
        { label: '1', score: 0.5, anomalous: false },
      ],
    });
  });

  it('are judged by the threshold of the manifest, in its direction', async () => {
    expect(await predicted('bounded', { rows: [[-3], [-1]] })).toMatchObject({
      predictions: [
        { label: '-1', score: -3, threshold: -2, anomalous: true },
        { label: '-1', score: -1, anomalous: false },
      ],
    });
  });
});

describe('regressions of several outputs', () => {
  it('name their values by the outputs, or as the manifest says', async () => {
    expect(await predicted('heads', { features: [2] })).toMatchObject({ values: { same: 2, negative: -2 } });
    expect(await predicted('titled-heads', { rows: [[2], [3]] })).toMatchObject({
      predictions: [{ values: { up: 2, down: -2 } }, { values: { up: 3, down: -3 } }],
    });
  });
});
