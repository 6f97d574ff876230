import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { OnnxNode, OnnxTensor } from '@edgeloop/shared/onnx/encode';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, expect, it } from 'vitest';
import { encodeGraph } from '../../../../test/support/onnx-models.ts';
import type { TakenSlot } from '../ring/consumer.ts';
import { viewsOfArena, writeRecord } from '../ring/records.ts';
import { createBatchRunner } from './batch-run.ts';
import { openSession } from './session.ts';

const folder = mkdtempSync(join(tmpdir(), 'agent-batch-run-'));
afterAll(() => rmSync(folder, { recursive: true }));

type Dims = readonly (number | string)[];
const value = (name: string, dims: Dims = ['n', 2]) => ({ name, type: 'float', dims }) as const;
const five: OnnxTensor = { name: 'five', dims: [1, 2], data: Float32Array.of(5, 6) };
const node = (
  opType: string,
  inputs: string[],
  outputs: string[],
  attributes: OnnxNode['attributes'] = [],
): OnnxNode => ({
  opType,
  inputs,
  outputs,
  attributes,
});
const branch = (nodes: OnnxNode[], result: string) => ({ name: result, nodes, inputs: [], outputs: [value(result)] });

const request = { model: 1, maxRows: 8, inputAt: 0, inputBytes: 64, outputAt: 2048, outputBytes: 512, deadlineMs: 0 };

/** Each takes `x` of two floats a row. */
const kinds: [string, Uint8Array][] = [
  ['an input', encodeGraph({ inputs: [value('x')], outputs: [value('x')], nodes: [] })],
  [
    'an input beside what is computed',
    encodeGraph({ inputs: [value('x')], outputs: [value('x'), value('y')], nodes: [node('Neg', ['x'], ['y'])] }),
  ],
  ...['Identity', 'Dropout'].map((opType): [string, Uint8Array] => [
    `${opType} of an input`,
    encodeGraph({ inputs: [value('x')], outputs: [value('y')], nodes: [node(opType, ['x'], ['y'])] }),
  ]),
  [
    'a cast that changes nothing',
    encodeGraph({
      inputs: [value('x')],
      outputs: [value('y')],
      nodes: [node('Cast', ['x'], ['y'], [{ name: 'to', int: 1 }])],
    }),
  ],
  [
    'a constant of the file',
    encodeGraph({
      inputs: [value('x')],
      outputs: [value('five', [1, 2]), value('y')],
      initializers: [five],
      nodes: [node('Neg', ['x'], ['y'])],
    }),
  ],
  [
    'what is computed of constants',
    encodeGraph({
      inputs: [value('x')],
      outputs: [value('ten', [1, 2]), value('y')],
      initializers: [five],
      nodes: [node('Add', ['five', 'five'], ['ten']), node('Neg', ['x'], ['y'])],
    }),
  ],
  [
    'the same value under two names',
    encodeGraph({
      inputs: [value('x')],
      outputs: [value('a'), value('b'), value('c')],
      nodes: [node('Neg', ['x'], ['a']), node('Identity', ['a'], ['b']), node('Neg', ['x'], ['c'])],
    }),
  ],
  [
    'the same in another shape',
    encodeGraph({
      inputs: [value('x')],
      outputs: [value('y', ['n', 2, 1])],
      initializers: [{ name: 'shape', dims: [3], data: BigInt64Array.of(-1n, 2n, 1n) }],
      nodes: [node('Reshape', ['x', 'shape'], ['y'])],
    }),
  ],
  [
    'an input, or what is computed, by its values',
    encodeGraph({
      inputs: [value('x', [1, 2])],
      outputs: [value('y', [1, 2])],
      initializers: [{ name: 'zero', dims: [], data: Float32Array.of(0) }],
      nodes: [
        node('ReduceSum', ['x'], ['sum'], [{ name: 'keepdims', int: 0 }]),
        node('Greater', ['sum', 'zero'], ['positive']),
        node(
          'If',
          ['positive'],
          ['y'],
          [
            { name: 'then_branch', graph: branch([node('Identity', ['x'], ['same'])], 'same') },
            { name: 'else_branch', graph: branch([node('Neg', ['x'], ['other'])], 'other') },
          ],
        ),
      ],
    }),
  ],
  [
    'an input of a size that is not free',
    encodeGraph({ inputs: [value('x', [1, 2])], outputs: [value('x', [1, 2])], nodes: [] }),
  ],
];

it.each(kinds)('gives what the model gives, again and again, where an output is %s', async (_, bytes) => {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, bytes);
  const { session } = await openSession(path);
  const raw = await InferenceSession.create(path, { logSeverityLevel: 4 });
  const arena = viewsOfArena(new SharedArrayBuffer(4096));
  // Rows in a batch only where there may be several.
  const free = session.signature.inputs[0]?.shape[0] === -1;
  const runner = createBatchRunner(session, arena, free);
  for (const [i, rows] of (free ? [1, 1, 2, 1, 2, 2] : [1, 1, 1, 1]).entries()) {
    const data = Float32Array.from({ length: rows * 2 }, (_, at) => (i % 2 === 0 ? 1 : -1) * (i * 10 + at + 1));
    writeRecord(arena, 0, [{ shape: [rows, 2], data }]);
    const slot: TakenSlot = {
      ...request,
      sequence: i,
      rows,
    };
    const { parts } = await runner.run([slot]);
    const expected = await raw.run({ x: new Tensor('float32', data, [rows, 2]) });
    expect(parts?.[0]?.map(({ shape, data: got }) => ({ shape, data: [...got] }))).toEqual(
      session.signature.outputs.map(({ name }) => {
        const { dims, data: wanted = [] } = expected[name] ?? {};
        return { shape: dims, data: Array.from(wanted, Number) };
      }),
    );
  }
  await session.release();
  await raw.release();
});
