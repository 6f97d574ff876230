import { readModelHeader } from '@edgeloop/shared/onnx/header';
import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { exportNetwork } from './export.ts';
import { predict, predictedClasses, type TrainedNetwork } from './network.ts';
import { TrainerSpec } from './parameters.ts';
import { createRandom } from './random.ts';
import { type TrainInput, type TrainingStep, train } from './train.ts';

const featureCount = 5;
const classCount = 3;
const names = { featureNames: ['a', 'b', 'c', 'd', 'e'], labels: ['low', 'middle', 'high'] };

/** Class by a + b; c is large, d constant, e sometimes missing. */
function makeRows(count: number, seed: number) {
  const random = createRandom(seed);
  const rows = new Float32Array(count * featureCount);
  const labels = new Int32Array(count);
  for (let row = 0; row < count; row++) {
    const [a, b] = [random() * 4, random() * 4];
    rows.set([a, b, 1e6 * random(), 7, random() < 0.2 ? Number.NaN : random()], row * featureCount);
    labels[row] = a + b < 3 ? 0 : a + b < 5 ? 1 : 2;
  }
  return { rows, labels };
}

/** Two classes on the corners of a square: no straight line separates them. */
function makeSquare(count: number, seed: number) {
  const random = createRandom(seed);
  const rows = new Float32Array(count * 2).map(() => random() * 2 - 1);
  const labels = new Int32Array(count).map((_, row) =>
    (rows[row * 2] ?? 0) > 0 === (rows[row * 2 + 1] ?? 0) > 0 ? 1 : 0,
  );
  return { rows, labels };
}

async function trained(input: TrainInput): Promise<TrainedNetwork> {
  const result = await train(input);
  if (result.outcome !== 'trained') throw new Error('the run was stopped');
  return result.network;
}

function accuracy(network: TrainedNetwork, { rows, labels }: { rows: Float32Array; labels: Int32Array }): number {
  const classes = predictedClasses(predict(network, rows), network.classCount);
  return classes.filter((value, row) => value === labels[row]).length / labels.length;
}

async function runOnnx(bytes: Uint8Array, rows: Float32Array, width: number): Promise<Float32Array> {
  const session = await ort.InferenceSession.create(bytes);
  const features = new ort.Tensor('float32', rows, [rows.length / width, width]);
  const { scores } = await session.run({ features });
  await session.release();
  if (!(scores?.data instanceof Float32Array)) throw new Error('scores is not a float tensor');
  return scores.data;
}

const data = makeRows(600, 1);
const base = { ...data, featureCount, classCount, seed: 42 };
const softmax = TrainerSpec.parse({ kind: 'softmax' });
const mlp = TrainerSpec.parse({ kind: 'mlp', parameters: { hidden: [16, 9], epochs: 40, learningRate: 0.005 } });

describe('the built-in trainers', () => {
  it.each([softmax, mlp])('learn a problem that lines separate: $kind', async (spec) => {
    const network = await trained({ ...base, ...spec, validation: makeRows(200, 2) });
    expect(accuracy(network, makeRows(400, 3))).toBeGreaterThan(0.93);
  });

  it('learn with hidden layers what no line separates', async () => {
    const problem = { ...makeSquare(800, 1), featureCount: 2, classCount: 2, seed: 7 };
    const held = makeSquare(400, 2);
    expect(accuracy(await trained({ ...problem, ...mlp }), held)).toBeGreaterThan(0.93);
    expect(accuracy(await trained({ ...problem, ...softmax }), held)).toBeLessThan(0.7);
  });

  it.each([softmax, mlp, TrainerSpec.parse({ kind: 'mlp', parameters: { transform: 'log1p', epochs: 5, clip: 2 } })])(
    'export what they predict, also for missing, huge, negative and infinite values: $kind',
    async (spec) => {
      const network = await trained({ ...base, ...spec });
      const bytes = exportNetwork(network, names);
      const { rows } = makeRows(300, 4);
      rows.set([Number.NaN, 1e38, -5, 8, Number.POSITIVE_INFINITY, 0, -1e38, Number.NEGATIVE_INFINITY, 7, 0]);
      rows[featureCount * 2 + 3] = Number.POSITIVE_INFINITY;
      const [ours, theirs] = [predict(network, rows), await runOnnx(bytes, rows, featureCount)];
      expect(theirs.length).toBe(300 * classCount);
      for (const [i, score] of theirs.entries()) expect(Math.abs(score - (ours[i] ?? Number.NaN))).toBeLessThan(1e-4);
      expect(readModelHeader(bytes)).toMatchObject({ opset: 17, inputs: ['features'], outputs: ['scores'] });
    },
  );

  it('give the same bytes for the same inputs, and others for another seed', async () => {
    const bytesFor = async (seed: number) => exportNetwork(await trained({ ...base, ...mlp, seed }), names);
    const first = await bytesFor(42);
    expect(Buffer.compare(await bytesFor(42), first)).toBe(0);
    expect(Buffer.compare(await bytesFor(43), first)).not.toBe(0);
  });

  it('keep the epoch with the lowest validation loss and stop when it gets no better', async () => {
    // Labels at random: every step away from equal scores makes the validation loss worse sooner or later.
    const random = createRandom(5);
    const noise = () => new Int32Array(600).map(() => Math.floor(random() * classCount));
    const steps: TrainingStep[] = [];
    const spec = TrainerSpec.parse({ kind: 'mlp', parameters: { epochs: 200, patience: 3, learningRate: 0.01 } });
    const input = { ...base, ...spec, labels: noise(), validation: { rows: data.rows, labels: noise() } };
    const result = await train({ ...input, onStep: (step) => steps.push(step) });
    if (result.outcome !== 'trained') throw new Error('the run was stopped');
    const losses = steps.filter((step) => step.name === 'validation_loss');
    expect(result.epochs).toBeLessThan(200);
    expect(result.epochs - result.bestEpoch).toBe(3);
    const lowest = Math.min(...losses.map((step) => step.value));
    expect(losses.find((step) => step.step === result.bestEpoch)?.value).toBe(lowest);
    const scores = predict(result.network, input.validation.rows);
    const kept = input.validation.labels.reduce(
      (sum, label, row) => sum - Math.log(scores[row * classCount + label] ?? 0),
      0,
    );
    expect(kept / 600).toBeCloseTo(lowest, 5);
  });

  it('let other work of the process stop the run', async () => {
    let stop = false;
    const spec = TrainerSpec.parse({ kind: 'softmax', parameters: { epochs: 10_000 } });
    setImmediate(() => {
      stop = true;
    });
    const result = await train({ ...base, ...spec, shouldStop: () => stop });
    expect(result.outcome).toBe('stopped');
  });

  it('ignore a feature that was constant in training', async () => {
    const network = await trained({ ...base, ...mlp });
    const changed = data.rows.slice().map((value, i) => (i % featureCount === 3 ? value * 1000 : value));
    expect(predict(network, changed)).toEqual(predict(network, data.rows));
  });

  it('give a rare class its weight when balanced', async () => {
    const rows = new Float32Array(1000).map((_, i) => (i % 20 === 0 ? 1 : 0));
    const labels = new Int32Array(1000).map((_, i) => (i % 20 === 0 && i % 40 !== 0 ? 1 : 0));
    const weigh = async (classWeights: string) => {
      const spec = TrainerSpec.parse({ kind: 'softmax', parameters: { classWeights, epochs: 100, l2: 0 } });
      const network = await trained({ ...spec, rows, labels, featureCount: 1, classCount: 2, seed: 1 });
      return predict(network, Float32Array.of(1))[1] ?? 0;
    };
    expect(await weigh('none')).toBeLessThan(0.6);
    expect(await weigh('balanced')).toBeGreaterThan(0.9);
  });

  it('refuse data that does not fit, naming it', async () => {
    await expect(train({ ...base, ...softmax, featureCount: 4 })).rejects.toThrow(/3000 values for 600 labels of 4/);
    await expect(train({ ...base, ...softmax, classCount: 2 })).rejects.toThrow(/label 2 of row \d+ is not one of 2/);
    await expect(
      train({ ...base, ...softmax, validation: { rows: new Float32Array(0), labels: new Int32Array(0) } }),
    ).rejects.toThrow(/validation is empty/);
    const network = await trained({ ...base, ...softmax });
    expect(() => exportNetwork(network, { ...names, labels: ['one'] })).toThrow(/labels has 1 of 3 names/);
  });
});
