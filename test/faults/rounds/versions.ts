// The versions that the rounds push. A good one is told by its answer to the one question that all callers ask, so that an
// answer says which bytes gave it; the others are bad in one way each.
import type { ManifestInput } from '@edgeloop/shared/manifest';
import { manifest, sumClassifier } from '../../support/models.ts';
import { encodeGraph } from '../../support/onnx-models.ts';

/** What all callers ask. */
export const question = { a: 1, b: 2 };

export interface Candidate {
  bytes: Uint8Array;
  manifest: ManifestInput;
  /** The score of `high` that raw arithmetic gives for the question; undefined for a bad version. */
  high: number | undefined;
}

const captured: ManifestInput = { ...manifest, capture: { rate: 0.05 } };

/** `number` makes it unlike all others. */
export function goodVersion(number: number, isolation: 'shared' | 'process' = 'shared'): Candidate {
  const bias = -3 + number / 64;
  const sum = Math.fround(question.a + question.b + bias);
  return { bytes: sumClassifier({ bias }), manifest: { ...captured, isolation }, high: 1 / (1 + Math.exp(-sum)) };
}

const features = [{ name: 'features', type: 'float', dims: ['n', 2] }] as const;
const scores = [{ name: 'scores', type: 'float', dims: ['n', 2] }] as const;
const softmax = (input: string) =>
  ({ opType: 'Softmax', inputs: [input], outputs: ['scores'], attributes: [{ name: 'axis', int: -1 }] }) as const;
const castTo = (from: string, to: string, type: number) =>
  ({ opType: 'Cast', inputs: [from], outputs: [to], attributes: [{ name: 'to', int: type }] }) as const;
const bad = (bytes: Uint8Array, changes: ManifestInput = {}): Candidate => ({
  bytes,
  manifest: { ...captured, ...changes },
  high: undefined,
});

/** Takes zeros, and ends its process at the question: INT32_MIN / -1 where a feature is 1. */
export function deadlyVersion(number: number): Candidate {
  return bad(
    encodeGraph({
      inputs: features,
      outputs: scores,
      initializers: [
        { name: 'smallest', dims: [1], data: Float32Array.of(-(2 ** 31)) },
        { name: 'one', dims: [1], data: Float32Array.of(1) },
        { name: 'minusOne', dims: [1], data: Float32Array.of(-1) },
        { name: 'other', dims: [1], data: Float32Array.of(2 + number) },
      ],
      nodes: [
        castTo('smallest', 'numerator', 6),
        { opType: 'Equal', inputs: ['features', 'one'], outputs: ['isOne'] },
        { opType: 'Where', inputs: ['isOne', 'minusOne', 'other'], outputs: ['chosen'] },
        castTo('chosen', 'denominator', 6),
        { opType: 'Div', inputs: ['numerator', 'denominator'], outputs: ['quotient'] },
        castTo('quotient', 'logits', 1),
        softmax('logits'),
      ],
    }),
  );
}

const loopBody = {
  name: 'body',
  inputs: [
    { name: 'i', type: 'int64', dims: [] },
    { name: 'again', type: 'bool', dims: [] },
    { name: 'v', type: 'float', dims: ['n', 2] },
  ],
  outputs: [
    { name: 'again_out', type: 'bool', dims: [] },
    { name: 'v_out', type: 'float', dims: ['n', 2] },
  ],
  nodes: [
    { opType: 'Identity', inputs: ['again'], outputs: ['again_out'] },
    { opType: 'Identity', inputs: ['v'], outputs: ['v_out'] },
  ],
} as const;

/** Takes zeros, and never returns from the question. */
export function endlessVersion(number: number): Candidate {
  return bad(
    encodeGraph({
      inputs: features,
      outputs: scores,
      initializers: [{ name: 'bound', dims: [], data: Float32Array.of(1 / (number + 1)) }],
      nodes: [
        { opType: 'ReduceSum', inputs: ['features'], outputs: ['sum'], attributes: [{ name: 'keepdims', int: 0 }] },
        { opType: 'Greater', inputs: ['sum', 'bound'], outputs: ['go'] },
        {
          opType: 'Loop',
          inputs: ['', 'go', 'features'],
          outputs: ['logits'],
          attributes: [{ name: 'body', graph: loopBody }],
        },
        softmax('logits'),
      ],
    }),
    { maxRunMs: 1000 },
  );
}

/** Bytes that the heavy version takes, and the bound of the agents' provers in megabytes, which is below. */
const heavyBytes = 400_000_000;
export const proveMemoryMb = 320;

/** Takes more memory than the devices give a candidate, and less than the server does. */
export function heavyVersion(number: number): Candidate {
  return bad(
    encodeGraph({
      inputs: features,
      outputs: scores,
      initializers: [
        { name: 'size', dims: [1], data: BigInt64Array.of(BigInt(heavyBytes / 4 + number)) },
        { name: 'axis', dims: [1], data: BigInt64Array.of(0n) },
      ],
      nodes: [
        { opType: 'ConstantOfShape', inputs: ['size'], outputs: ['floats'] },
        { opType: 'ReduceSum', inputs: ['floats', 'axis'], outputs: ['nothing'] },
        { opType: 'Add', inputs: ['features', 'nothing'], outputs: ['logits'] },
        softmax('logits'),
      ],
    }),
  );
}

/** A good version whose golden sample says otherwise: the server must refuse it. */
export function wrongGolden(): object {
  const tensor = (data: number[]) => ({ datatype: 'FP32', shape: [1, 2], data });
  return { samples: [{ inputs: { features: tensor([1, 2]) }, outputs: { scores: tensor([0.9, 0.1]) } }] };
}
