import { describe, expect, it } from 'vitest';
import { classesOf } from './class-names.ts';
import { mlClassifier } from './classifier-fixture.ts';
import { encodeModel, type OnnxNode } from './encode.ts';
import { sourceOf } from './fields.ts';
import { readGraph } from './graph.ts';

const named = (metadata: Record<string, string>, nodes: readonly OnnxNode[] = []): Uint8Array =>
  encodeModel({
    irVersion: 8,
    opset: 17,
    domains: { 'ai.onnx.ml': 1 },
    producer: { name: 'test', version: '1' },
    metadata,
    graph: {
      name: 'graph',
      nodes: [{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }, ...nodes],
      inputs: [{ name: 'x', type: 'float', dims: ['n', 2] }],
      outputs: [{ name: 'y', type: 'float', dims: ['n', 2] }],
    },
  });
const read = (bytes: Uint8Array) => classesOf(readGraph(sourceOf(bytes)));
const classifier = (texts: string[], output: string): OnnxNode => ({
  opType: 'TreeEnsembleClassifier',
  domain: 'ai.onnx.ml',
  inputs: ['x'],
  outputs: [`label ${output}`, output],
  attributes: [{ name: 'classlabels_strings', texts }],
});
const zipMap = (ints: number[]): OnnxNode => ({
  opType: 'ZipMap',
  domain: 'ai.onnx.ml',
  inputs: ['y'],
  outputs: ['z'],
  attributes: [{ name: 'classlabels_int64s', ints }],
});

describe('classes of a file', () => {
  it.each([
    [{ names: "{0: 'helmet', 1: 'vest'}" }, ['helmet', 'vest']],
    [{ labels: '["a","b"]' }, ['a', 'b']],
    [{ names: 'prose', classes: "['a']" }, ['a']],
    [{ names: "{0: 'crane', 1: 'heron', 2: 'crane'}" }, ['crane', 'heron', 'crane (2)']],
    [{ author: "{0: 'a'}" }, undefined],
  ])('come from the metadata: %j', (metadata, names) => {
    expect(read(named(metadata)).names).toEqual(names);
  });

  it('come from the operators before the metadata', () => {
    const one = named({ names: "['p', 'q']" }, [classifier(['a', 'b'], 'p')]);
    expect(read(one).names).toEqual(['a', 'b']);
    expect(read(mlClassifier([[1], [2]], [7, 9], { zipMap: true })).names).toEqual(['7', '9']);
  });

  it('are those of the whole, not of the parts of an ensemble', () => {
    const parts = [classifier(['0', '1'], 'p'), classifier(['0', '2'], 'q')];
    expect(read(named({}, parts)).names).toBeUndefined();
    expect(read(named({}, [...parts, zipMap([4, 5, 6])])).names).toEqual(['4', '5', '6']);
  });

  it('know the output that says the class, also behind a cast', () => {
    expect(read(mlClassifier([[1], [2]], ['a', 'b'])).label).toBe('label');
    expect(read(named({})).label).toBeUndefined();
  });
});
