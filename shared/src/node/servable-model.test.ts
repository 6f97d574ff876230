import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as ort from 'onnxruntime-node';
import { afterAll, describe, expect, it } from 'vitest';
import { sequenceOutput } from '../../../test/support/hostile-models.ts';
import { mlClassifier, sequenceOfFloats, withType } from '../onnx/classifier-fixture.ts';
import { encodeModel } from '../onnx/encode.ts';
import { ModelSignature } from '../tensors.ts';
import { type ModelSource, openServable } from './servable-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'servable-'));
afterAll(() => rmSync(folder, { recursive: true }));

let count = 0;
const sources: ModelSource[] = [];
async function open(bytes: Uint8Array, limits?: { cutAtMostBytes: number }) {
  const path = join(folder, `${count++}.onnx`);
  writeFileSync(path, bytes);
  sources.length = 0;
  return openServable(path, create, limits);
}
async function create(source: ModelSource): Promise<ort.InferenceSession> {
  sources.push(source);
  const options = { logSeverityLevel: 4 } as const;
  return 'path' in source
    ? ort.InferenceSession.create(source.path, options)
    : ort.InferenceSession.create(source.bytes, options);
}
const weights = [
  [1, 0],
  [0, 1],
  [0, 0],
];
const texts = ['setosa', 'versicolor', 'virginica'];
const x = new ort.Tensor('float32', [3, 0], [1, 2]);

describe('a classifier with ZipMap', () => {
  const written = [texts, [10, 20, 30]].flatMap((classes) =>
    [true, false].flatMap((declared) => [true, false].map((onlyMl) => ({ classes, declared, onlyMl }))),
  );
  it.each(written)('gives its probabilities as a tensor under the same name: %j', async ({ classes, ...how }) => {
    const { session, signature, fetches } = await open(mlClassifier(weights, classes, { zipMap: true, ...how }));
    expect(sources).toEqual([{ bytes: expect.any(Uint8Array), folder }]);
    expect(signature).toMatchObject({
      outputs: [{ name: 'label' }, { name: 'probabilities', datatype: 'FP32', shape: [-1, 3] }],
      classNames: classes.map(String),
      labelOutput: 'label',
    });
    expect(signature.opset).toBe(how.onlyMl ? undefined : 17);
    expect([signature.leftOut, fetches]).toEqual([undefined, undefined]);
    const plain = await (await open(mlClassifier(weights, classes))).session.run({ x });
    expect((await session.run({ x })).probabilities?.data).toEqual(plain.probabilities?.data);
  });
});

it('asks a file that is too large to be cut for its tensors only', async () => {
  const bytes = mlClassifier(weights, texts, { zipMap: true });
  const { session, signature, fetches } = await open(bytes, { cutAtMostBytes: bytes.length - 1 });
  expect(sources).toEqual([{ path: expect.any(String) }]);
  expect(signature).toMatchObject({ outputs: [{ name: 'label' }], leftOut: [{ name: 'probabilities' }] });
  expect(fetches).toEqual(['label']);
  expect((await session.run({ x }, fetches ?? [])).label?.data).toEqual(['setosa']);
});

describe('outputs that are no tensors', () => {
  const plain = encodeModel({
    irVersion: 8,
    opset: 17,
    producer: { name: 'test', version: '1' },
    graph: {
      name: 'graph',
      nodes: [
        { opType: 'Identity', inputs: ['x'], outputs: ['y'] },
        { opType: 'SequenceConstruct', inputs: ['x', 'x'], outputs: ['pairs'] },
      ],
      inputs: [{ name: 'x', type: 'float', dims: ['n'] }],
      outputs: [
        { name: 'y', type: 'float', dims: ['n'] },
        { name: 'pairs', type: 'float', dims: [] },
      ],
    },
  });

  it.each([
    ['declared', sequenceOfFloats, 1],
    ['inferred by ONNX Runtime', undefined, 2],
  ])('are left out with the reason, and the rest is served: %s', async (_, type, opened) => {
    const { session, signature, fetches } = await open(withType(plain, 'pairs', type));
    expect(signature.outputs).toEqual([{ name: 'y', datatype: 'FP32', shape: [-1] }]);
    expect(signature.leftOut).toEqual([{ name: 'pairs', reason: 'is not a tensor; only tensors can be served' }]);
    expect([sources.length, fetches]).toEqual([opened, undefined]);
    const results = await session.run({ x: new ort.Tensor('float32', [1, 2], [2]) });
    expect(Object.keys(results)).toEqual(['y']);
  });

  it('alone make a model that cannot be served', async () => {
    await expect(open(sequenceOutput())).rejects.toMatchObject({
      code: 'model_rejected',
      message: 'output "s" is not a tensor; only tensors can be served',
    });
  });
});

it('loads other files as they are, without their bytes', async () => {
  const { signature } = await open(mlClassifier(weights, texts));
  expect(sources).toEqual([{ path: expect.any(String) }]);
  expect(signature.classNames).toEqual(texts);
});

it('says what ONNX Runtime says of a file that is none', async () => {
  await expect(open(Buffer.from('no model'))).rejects.toThrow(/protobuf|load model/i);
  await expect(openServable(join(folder, 'missing.onnx'), () => Promise.reject(new Error('asked')))).rejects.toThrow(
    /cannot be read/,
  );
});

it('reads signatures that were stored before they said more', () => {
  const former = { inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 2] }], outputs: [], opset: 17 };
  expect(ModelSignature.parse(former)).toEqual(former);
});
