// What a caller is answered does not depend on who else asks at the same time: many callers of models whose free first dimension
// is a batch, or is none, against ONNX Runtime alone.
import { existsSync, readdirSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { OnnxNode, OnnxTensor } from '@edgeloop/shared/onnx/encode';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { encodeGraph, perceptron } from '../support/onnx-models.ts';
import { temporaryFolder } from '../support/programs.ts';
import { type FolderServer, startServing } from '../support/serving.ts';

const callers = 64;
const rounds = 6;

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

/** `x` [n, 3, …] to `y`, whose first dimension is free. */
function model(nodes: OnnxNode[], { initializers = [], rank = 2, output = 'y' }: Partial<Shape> = {}): Uint8Array {
  const dims = ['n', 3, ...Array<number>(rank - 2).fill(2)];
  const outputs = [
    { name: output, type: 'float' as const, dims: ['m', ...Array.from({ length: rank - 1 }, (_, i) => `d${i}`)] },
  ];
  return encodeGraph({ inputs: [{ name: 'x', type: 'float', dims }], outputs, initializers, nodes });
}

interface Shape {
  initializers: OnnxTensor[];
  rank: number;
  output: string;
}

const floats = (name: string, ...dims: number[]): OnnxTensor => {
  const size = dims.reduce((all, dim) => all * dim, 1);
  return { name, dims, data: Float32Array.from({ length: size }, (_, i) => ((i * 7) % 11) / 5 - 1) };
};
const zero: OnnxTensor = { name: 'zero', dims: [], data: BigInt64Array.of(0n) };

/** None of these may share a run. */
const mixing: Record<string, Uint8Array> = {
  'softmax-over-rows': model([node('Softmax', ['x'], ['y'], [{ name: 'axis', int: 0 }])]),
  'running-sum': model([node('CumSum', ['x', 'zero'], ['y'])], { initializers: [zero] }),
  'mean-of-all': model([node('ReduceMean', ['x'], ['m']), node('Sub', ['x', 'm'], ['y'])]),
  'dynamic-scale': model([
    node('DynamicQuantizeLinear', ['x'], ['q', 's', 'z']),
    node('DequantizeLinear', ['q', 's', 'z'], ['y']),
  ]),
  'steps-first': model(
    [node('LSTM', ['x', 'w', 'r'], ['all', 'last']), node('Squeeze', ['all', 'one'], ['y'])].map((each) =>
      each.opType === 'LSTM' ? { ...each, attributes: [{ name: 'hidden_size', int: 2 }] } : each,
    ),
    {
      initializers: [
        floats('w', 1, 8, 2),
        floats('r', 1, 8, 2),
        { name: 'one', dims: [1], data: BigInt64Array.of(1n) },
      ],
      rank: 3,
    },
  ),
  'all-pairs': model([
    node('Transpose', ['x'], ['t']),
    node('MatMul', ['x', 't'], ['s']),
    node('MatMul', ['s', 'x'], ['y']),
  ]),
};

/** These should share runs. */
const apart: Record<string, Uint8Array> = {
  perceptron: perceptron([3, 16, 4]),
  'handed-on': model([], { output: 'x' }),
};

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let server: FolderServer;
const raw = new Map<string, InferenceSession>();

async function serve(models: Record<string, Uint8Array>): Promise<void> {
  folder = await temporaryFolder();
  for (const [name, bytes] of Object.entries(models)) {
    await mkdir(join(folder.path, name, '1'), { recursive: true });
    await writeFile(join(folder.path, name, '1', 'model.onnx'), bytes);
    raw.set(name, await InferenceSession.create(bytes, { logSeverityLevel: 4, intraOpNumThreads: 1 }));
  }
  server = await startServing(folder.path, { env: { EDGELOOP_THREADS: '1' } });
}

const Answer = z.object({
  outputs: z.array(z.object({ name: z.string(), shape: z.array(z.number()), data: z.array(z.number()) })),
});
const Stats = z.object({
  model_stats: z.array(
    z.object({
      batch_stats: z.array(z.object({ batch_size: z.number() })),
      runtime: z.object({ batchable: z.boolean(), joining: z.string() }),
    }),
  ),
});

interface Request {
  shape: number[];
  data: number[];
}

async function ask(name: string, input: string, { shape, data }: Request): Promise<z.infer<typeof Answer>> {
  const inputs = [{ name: input, datatype: 'FP32', shape, data }];
  const response = await fetch(`${server.url}/v2/models/${name}/infer`, {
    method: 'POST',
    body: JSON.stringify({ inputs }),
  });
  return Answer.parse(await response.json());
}

async function statsOf(name: string) {
  const { model_stats: stats } = Stats.parse(await (await fetch(`${server.url}/v2/models/${name}/stats`)).json());
  const [first] = stats;
  if (!first) throw new Error(`no statistics of ${name}`);
  return first;
}

/** Of other sizes and magnitudes, in an order that changes. */
function requests(dims: readonly number[]): Request[] {
  return Array.from({ length: callers }, (_, i) => {
    const shape = [(i % 3) + 1, ...dims];
    const size = shape.reduce((all, dim) => all * dim, 1);
    return {
      shape,
      data: Array.from({ length: size }, (_, at) => Math.fround(Math.sin(i * 31 + at) * 10 ** ((i % 5) - 2))),
    };
  });
}

/** Answers that are not what ONNX Runtime gives to the request alone. */
async function wrongAnswers(name: string, dims: readonly number[]): Promise<unknown[]> {
  const session = raw.get(name);
  const [input = 'x'] = session?.inputNames ?? [];
  const asked = requests(dims);
  const expected = [];
  for (const { shape, data } of asked) {
    const results = await session?.run({ [input]: new Tensor('float32', Float32Array.from(data), shape) });
    expected.push(
      Object.entries(results ?? {}).map(([output, { dims: given, data: values }]) => ({
        name: output,
        shape: [...given],
        data: Array.from(values, Number),
      })),
    );
  }
  const wrong: unknown[] = [];
  for (let round = 0; round < rounds; round++) {
    const order = asked.map((_, i) => (i * (2 * round + 1)) % callers);
    const answers = await Promise.all(order.map((at) => ask(name, input, asked[at] ?? { shape: [], data: [] })));
    for (const [i, at] of order.entries())
      if (!isClose(answers[i]?.outputs ?? [], expected[at] ?? []))
        wrong.push({ asked: asked[at], got: answers[i], expected: expected[at] });
  }
  return wrong;
}

type Outputs = z.infer<typeof Answer>['outputs'];

function isClose(got: Outputs, expected: Outputs): boolean {
  return expected.every(({ shape, data }, place) => {
    const [own, bound] = [got[place], Math.max(...data.map(Math.abs)) * 1e-5];
    return (
      own?.shape.join() === shape.join() &&
      data.every((value, i) => Math.abs(value - (own.data[i] ?? Number.NaN)) <= bound)
    );
  });
}

describe('many callers at once', () => {
  beforeAll(() => serve({ ...mixing, ...apart }));
  afterAll(async () => {
    await server?.stop();
    await folder.remove();
  });

  it.each(Object.keys(mixing))('get what they would get alone from a model that mixes rows (%s)', async (name) => {
    expect(await wrongAnswers(name, name === 'steps-first' ? [3, 2] : [3])).toEqual([]);
    const { runtime } = await statsOf(name);
    expect(runtime).toMatchObject({ batchable: false, joining: expect.stringMatching(/./) });
  });

  it.each(Object.keys(apart))('get what they would get alone where they share runs (%s)', async (name) => {
    expect(await wrongAnswers(name, [3])).toEqual([]);
    const { runtime, batch_stats } = await statsOf(name);
    expect(runtime).toMatchObject({ batchable: true, joining: expect.stringContaining('keeps rows apart') });
    expect(Math.max(...batch_stats.map(({ batch_size }) => batch_size))).toBeGreaterThan(3);
  });

  it('finds the reason in the log and in the configuration, too', async () => {
    expect(server.program.output()).toMatch(/running-sum.*works along the rows/);
    const config: unknown = await (await fetch(`${server.url}/v2/models/running-sum/config`)).json();
    expect(config).toMatchObject({
      max_batch_size: 0,
      parameters: { joining: { string_value: expect.stringContaining('works along the rows') } },
    });
  });
});

const cases = fileURLToPath(new URL('../../../shared/data/cases/01-free-first-dim-not-batch/models', import.meta.url));
const has = existsSync(cases);

describe.skipIf(!has)(`models of others that mix rows${has ? '' : ` (skipped: no ${cases})`}`, () => {
  beforeAll(async () => {
    const files = readdirSync(cases).map(
      async (name): Promise<[string, Uint8Array]> => [name, await readFile(join(cases, name, '1', 'model.onnx'))],
    );
    await serve(Object.fromEntries(await Promise.all(files)));
  });
  afterAll(async () => {
    await server?.stop();
    await folder.remove();
  });

  it('answer each caller alone', async () => {
    for (const name of readdirSync(cases))
      expect(await wrongAnswers(name, name.startsWith('lstm') ? [1, 2] : [2])).toEqual([]);
  });
});
