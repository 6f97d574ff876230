import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Manifest } from '@edgeloop/shared/manifest';
import { afterAll, expect, it } from 'vitest';
import { endlessLoop } from '../../../../test/support/hostile-models.ts';
import { encodeGraph, perceptron } from '../../../../test/support/onnx-models.ts';
import { openModel } from './open-model.ts';

const folder = mkdtempSync(join(tmpdir(), 'open-model-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const mixing = encodeGraph({
  inputs: [{ name: 'x', type: 'float', dims: ['n', 2] }],
  outputs: [{ name: 'y', type: 'float', dims: ['n', 2] }],
  nodes: [{ opType: 'Softmax', inputs: ['x'], outputs: ['y'], attributes: [{ name: 'axis', int: 0 }] }],
});

it.each([
  ['a perceptron', perceptron([2, 4, 3]), { against: undefined, plain: true }],
  ['a graph that loops', endlessLoop(), { against: expect.any(String), plain: false }],
  ['a graph that mixes rows', mixing, { against: expect.stringMatching(/Softmax/), plain: true }],
])('knows of %s what its graph says although the file is gone', async (_, bytes, { against, plain }) => {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  const { session, graph } = await openModel(path);
  rmSync(path);
  expect([graph.againstJoining(), graph.isPlain()]).toEqual([against, plain]);
  await session.release();
});

it('knows of a pipeline which step mixes rows', async () => {
  const names = ['first.onnx', 'second.onnx'];
  writeFileSync(join(folder, 'first.onnx'), perceptron([2, 4, 2]));
  writeFileSync(join(folder, 'second.onnx'), mixing);
  const { pipeline } = Manifest.parse({
    pipeline: {
      inputs: [{ name: 'given', datatype: 'FP32', shape: [-1, 2] }],
      outputs: ['mixed'],
      steps: [
        { name: 'one', model: 'first.onnx', inputs: { x: 'given' }, outputs: { y: 'between' } },
        { name: 'two', model: 'second.onnx', inputs: { x: 'between' }, outputs: { y: 'mixed' } },
      ],
    },
  });
  const { session, graph } = await openModel(folder, { pipeline });
  for (const name of names) rmSync(join(folder, name));
  expect(graph.isPlain()).toBe(false);
  expect(graph.againstJoining()).toMatch(/^step "two": .*Softmax/);
  await session.release();
});
