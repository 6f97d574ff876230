import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Manifest, type ManifestInput } from '../manifest.ts';
import type { NamedTensor } from '../tensor-data.ts';
import type { ModelSignature, TensorSpec } from '../tensors.ts';
import { interpret } from './interpretation.ts';
import { predictionsOf, scoreRows } from './predictions.ts';

const spec = (name: string, datatype: TensorSpec['datatype'], shape: number[]): TensorSpec => ({
  name,
  datatype,
  shape,
});
const floats = (name: string, shape: number[], data: number[]): NamedTensor => ({
  name,
  datatype: 'FP32',
  shape,
  data: Float32Array.from(data),
});
const ints = (name: string, data: number[]): NamedTensor => ({
  name,
  datatype: 'INT64',
  shape: [data.length],
  data: BigInt64Array.from(data, BigInt),
});
const texts = (name: string, data: string[]): NamedTensor => ({ name, datatype: 'BYTES', shape: [data.length], data });

function read(
  outputs: ManifestInput['outputs'],
  signature: Omit<ModelSignature, 'inputs'>,
  tensors: NamedTensor[],
  rows: number,
) {
  const manifest = Manifest.parse({ task: 'classification', outputs });
  const { scores, labels } = interpret(manifest, { inputs: [spec('x', 'FP32', [-1, 2])], ...signature });
  if (!scores) throw new Error('no classifier');
  return { ...predictionsOf(scores, tensors, rows), rows: scoreRows(scores, tensors, rows), labels };
}

const near = (value: number) => expect.closeTo(value, 5);

describe('one probability for two classes', () => {
  const shapes: [shape: number[], given: number[], values: number[]][] = [
    [
      [-1, 1],
      [2, 1],
      [0.75, 0.125],
    ],
    [[-1], [2], [0.75, 0.125]],
    [[], [2, 1], [0.75, 0.125]],
    [
      [-1, 1, 1, 1],
      [2, 1, 1, 1],
      [0.75, 0.125],
    ],
  ];
  it.each(shapes)('as %j', (declared, shape, values) => {
    const outputs = [spec('p', 'FP32', declared)];
    const tensors = [floats('p', shape, values)];
    const both = [
      [0.25, 0.75],
      [0.875, 0.125],
    ];
    expect(read({ labels: ['ok', 'worn'] }, { outputs }, tensors, 2)).toMatchObject({
      predicted: ['worn', 'ok'],
      scores: [0.75, 0.875],
      rows: both,
    });
    expect(read({}, { outputs }, tensors, 2)).toMatchObject({ predicted: ['1', '0'], rows: both });
  });

  it('comes out of a logit when the manifest says so, and is refused when it is none', () => {
    const outputs = [spec('p', 'FP32', [-1, 1])];
    const logit = [floats('p', [1, 1], [Math.log(3)])];
    expect(read({ activation: 'sigmoid' }, { outputs }, logit, 1)).toMatchObject({
      predicted: ['1'],
      scores: [near(0.75)],
    });
    const raw = read({}, { outputs }, logit, 1);
    expect([raw.predicted, raw.rows]).toEqual([undefined, expect.stringContaining('"activation": "sigmoid"')]);
    expect(() => read({ activation: 'softmax' }, { outputs }, logit, 1)).toThrow(/outputs.activation.*always 1/);
  });

  it('is not seen in scores of two classes or of one', () => {
    const flat = [floats('p', [2], [0.25, 0.75])];
    expect(read({ labels: ['a', 'b'] }, { outputs: [spec('p', 'FP32', [2])] }, flat, 2).predicted).toEqual(['b']);
    expect(read({ labels: ['a', 'b'] }, { outputs: [spec('p', 'FP32', [-1])] }, flat, 1).predicted).toEqual(['b']);
    const one = read(
      { labels: ['a'] },
      { outputs: [spec('p', 'FP32', [-1, 1])] },
      [floats('p', [2, 1], [0.1, 0.9])],
      2,
    );
    expect(one).toMatchObject({ predicted: ['a', 'a'], rows: [[near(0.1)], [near(0.9)]] });
  });
});

describe('scores before trailing ones', () => {
  it.each([{ labels: ['a', 'b', 'c'] }, {}])('with %j', (outputs) => {
    const { predicted, rows } = read(
      outputs,
      { outputs: [spec('y', 'FP32', [-1, 3, 1, 1])] },
      [floats('y', [2, 3, 1, 1], [0, 1, 0, 0, 0, 1])],
      2,
    );
    expect(predicted).toEqual(outputs.labels ? ['b', 'c'] : ['1', '2']);
    expect(rows).toHaveLength(2);
  });
});

describe("the model's own label", () => {
  const scores = spec('p', 'FP32', [-1, 3]);
  const table = floats('p', [2, 3], [0.8, 0.1, 0.1, 0, 0.3, 0.7]);
  const outputsOf = (datatype: TensorSpec['datatype'], name = 'label') => [spec(name, datatype, [-1]), scores];

  it('is the answer, whatever the highest score', () => {
    const own = read({}, { outputs: outputsOf('BYTES') }, [texts('label', ['setosa', 'other']), table], 2);
    expect(own).toMatchObject({ predicted: ['setosa', 'other'], scores: [near(0.8), near(0.7)] });
    const classNames = ['setosa', 'other', 'third'];
    const known = { outputs: outputsOf('BYTES'), classNames };
    // Its score is that of the class, not the highest.
    expect(read({}, known, [texts('label', ['setosa', 'other']), table], 2)).toMatchObject({
      predicted: ['setosa', 'other'],
      scores: [near(0.8), near(0.3)],
      labels: classNames,
    });
  });

  it('as integers has the names of the manifest, by the classes of the file or by its place', () => {
    const tensors = [ints('label', [10, 30]), table];
    expect(read({}, { outputs: outputsOf('INT64'), classNames: ['10', '20', '30'] }, tensors, 2).predicted).toEqual([
      '10',
      '30',
    ]);
    const labels = ['a', 'b', 'c'];
    const named = { outputs: outputsOf('INT64'), classNames: ['10', '20', '30'] };
    expect(read({ labels }, named, tensors, 2).predicted).toEqual(['a', 'c']);
    expect(read({ labels }, { outputs: outputsOf('INT64') }, [ints('label', [2, 1]), table], 2).predicted).toEqual([
      'c',
      'b',
    ]);
    // Classes that nobody knows: the scores say it.
    expect(read({ labels }, { outputs: outputsOf('INT64') }, [ints('label', [7, -1]), table], 2).predicted).toEqual([
      'a',
      'c',
    ]);
  });

  it('is not taken from integers that nothing says are classes', () => {
    const count = read({}, { outputs: outputsOf('INT64', 'count') }, [ints('count', [2, 2]), table], 2);
    expect(count.predicted).toEqual(['0', '2']);
    const said = { outputs: outputsOf('INT64', 'count'), labelOutput: 'count' };
    expect(read({}, said, [ints('count', [2, 2]), table], 2).predicted).toEqual(['2', '2']);
    expect(
      read({ label: 'count' }, { outputs: outputsOf('INT64', 'count') }, [ints('count', [2, 2]), table], 2).predicted,
    ).toEqual(['2', '2']);
  });

  it('answers alone where the manifest names it', () => {
    const alone = { outputs: [spec('label', 'BYTES', [-1])] };
    expect(read({ label: 'label' }, alone, [texts('label', ['a', 'b'])], 2)).toMatchObject({
      predicted: ['a', 'b'],
      scores: undefined,
    });
    expect(() => read({}, alone, [], 1)).toThrow(/outputs.scores.*named by "label"/);
    expect(() => read({ label: 'p' }, { outputs: [scores] }, [], 1)).toThrow(
      /outputs.label.*neither texts nor integers/,
    );
  });
});

describe('names from the file', () => {
  it('name the classes where as many scores are there, and yield to the manifest', () => {
    const outputs = [spec('p', 'FP32', [-1, 2])];
    const tensors = [floats('p', [1, 2], [0, 1])];
    expect(read({}, { outputs, classNames: ['a', 'b'] }, tensors, 1).predicted).toEqual(['b']);
    expect(read({}, { outputs, classNames: ['a', 'b', 'c'] }, tensors, 1).predicted).toEqual(['1']);
    expect(read({ labels: ['p', 'q'] }, { outputs, classNames: ['a', 'b'] }, tensors, 1).predicted).toEqual(['q']);
  });

  it('contradict a manifest that names another number of classes', () => {
    const outputs = [spec('p', 'FP32', [-1, -1])];
    const wrong = () => read({ labels: ['p', 'q'] }, { outputs, classNames: ['a', 'b', 'c'] }, [], 1);
    expect(wrong).toThrow('manifest.outputs.labels: 2 labels, but the file itself has 3 classes: a, b, c');
  });
});

it('gives each row the class of its highest score, with any of the usual shapes', () => {
  const table = fc
    .record({
      rows: fc.integer({ min: 1, max: 6 }),
      width: fc.integer({ min: 2, max: 5 }),
      tail: fc.nat(2),
      named: fc.boolean(),
    })
    .chain((made) =>
      fc.record({
        made: fc.constant(made),
        values: fc.array(fc.float({ min: 0, max: 1, noNaN: true }), {
          minLength: made.rows * made.width,
          maxLength: made.rows * made.width,
        }),
      }),
    );
  fc.assert(
    fc.property(table, ({ made: { rows, width, tail, named }, values }) => {
      const ones = new Array<number>(tail).fill(1);
      const labels = Array.from({ length: width }, (_, place) => `class ${place}`);
      const { predicted } = read(
        named ? { labels } : {},
        { outputs: [spec('p', 'FP32', [-1, width, ...ones])] },
        [floats('p', [rows, width, ...ones], values)],
        rows,
      );
      const expected = Array.from({ length: rows }, (_, row) => {
        const own = values.slice(row * width, (row + 1) * width);
        const place = own.indexOf(Math.max(...own));
        return named ? labels[place] : String(place);
      });
      expect(predicted).toEqual(expected);
    }),
  );
});
