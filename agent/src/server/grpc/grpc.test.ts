import { connect } from 'node:net';
import type { ServiceError } from '@grpc/grpc-js';
import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  encodeFields,
  type Field,
  type Fields,
  type GrpcClient,
  grpcClient,
  headFields,
  inferFields,
  integersIn,
  messagesIn,
  rawOutputsOf,
  textIn,
} from '../../../../test/support/grpc.ts';
import { type ElementType, encodeGraph, identity, softmaxClassifier } from '../../../../test/support/onnx-models.ts';
import { until } from '../../../../test/support/until.ts';
import { binaryBody, bytesOfStrings, outputsOf, type WireTensor } from '../../../../test/support/v2.ts';
import { fullToken } from '../../process/local-tokens.ts';
import { createTokenCheck } from '../access.ts';
import { type ServedFront, serveFront } from '../front-fixture.ts';
import { createRepositoryChannel, type RepositoryChannel } from '../repository.ts';

const codes = {
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  UNIMPLEMENTED: 12,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

const singles = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const features = (...values: number[]) => ({
  name: 'features',
  datatype: 'FP32',
  shape: [1, values.length],
  bytes: singles(...values),
});

async function failure(answer: Promise<unknown>): Promise<ServiceError> {
  const error = await answer.then(
    () => undefined,
    (reason: ServiceError) => reason,
  );
  if (error === undefined) throw new Error('it was answered');
  return error;
}

describe('the inference protocol over gRPC', () => {
  let front: ServedFront;
  let client: GrpcClient;
  const asked: unknown[] = [];
  const repository: RepositoryChannel = createRepositoryChannel((message) => {
    if (message.kind !== 'repository') return;
    const { requestId, action, name, override } = message;
    asked.push([action, name, override]);
    const error = name === 'nobody' ? { code: 'not_found' as const, message: 'failed to load "nobody"' } : undefined;
    setImmediate(() => repository.settle({ kind: 'repository_result', requestId, ...(error ? { error } : {}) }));
  });

  beforeAll(async () => {
    front = await serveFront({
      repository,
      notLoaded: () => [{ name: 'gone', version: 7, state: 'UNAVAILABLE', reason: 'unloaded' }],
      misplaced: () => [{ name: 'near', version: 'v1', reason: 'no version' }],
    });
    client = grpcClient(await front.grpc());
    await front.load(
      'sides',
      softmaxClassifier(
        [
          [5, 0],
          [0, 5],
        ],
        [0, 0],
      ),
      {
        task: 'classification',
        inputs: { features: { features: ['a', 'b'] } },
        outputs: { labels: ['left', 'right'] },
      },
    );
  });
  beforeEach(() => {
    front.records.length = 0;
  });
  afterAll(async () => {
    client.close();
    await front.close();
  });

  it('infers with raw contents as HTTP does in binary, echoes id and own parameters, and is observed', async () => {
    const rest: Field[] = [
      [2, '1'],
      [3, 'mine'],
      [
        4,
        [
          [1, 'shift'],
          [2, [[3, 'night']]],
        ],
      ],
      [
        4,
        [
          [1, 'priority'],
          [2, [[5, 1]]],
        ],
      ],
    ];
    const answer = await client.call('ModelInfer', inferFields('sides', [features(1, 0)], rest));
    const { body, jsonBytes } = binaryBody([features(1, 0)]);
    const http = await front.post('/v2/models/sides/infer', body, {
      'inference-header-content-length': String(jsonBytes),
    });
    expect(rawOutputsOf(answer)).toEqual(outputsOf(http));
    expect([1, 2, 3].map((number) => textIn(answer, number))).toEqual(['sides', '1', 'mine']);
    expect(
      messagesIn(answer, 4).map((entry) => [textIn(entry, 1), textIn(messagesIn(entry, 2)[0] ?? new Map(), 3)]),
    ).toEqual([['shift', 'night']]);
    expect(front.records[0]).toMatchObject({ inferenceId: 'mine', model: 'sides', outcome: 'ok', predicted: ['left'] });
    const unnamed = await client.call('ModelInfer', inferFields('sides', [features(1, 0)]));
    expect(textIn(unnamed, 3)).toBe(front.records.at(-1)?.inferenceId);
  });

  it('gives the outputs that were asked for, and classes where those were', async () => {
    const output: Field = [
      6,
      [
        [1, 'scores'],
        [
          2,
          [
            [1, 'classification'],
            [2, [[2, 1]]],
          ],
        ],
      ],
    ];
    const answer = await client.call('ModelInfer', inferFields('sides', [features(0, 1)], [output]));
    expect(rawOutputsOf(answer)).toEqual([
      { name: 'scores', datatype: 'BYTES', shape: [1, 1], elements: [expect.stringMatching(/^0\.99\d+:1:right$/)] },
    ]);
  });

  const packed = (number: number, ...bytes: number[]): Field[] => [[number, Uint8Array.from(bytes)]];
  const varints = (number: number, ...values: bigint[]): Field[] => values.map((value): Field => [number, value]);
  const doubles = new Uint8Array(Float64Array.of(0.1, -0, Number.POSITIVE_INFINITY).buffer);
  it.each<[string, ElementType, Field[], number, string[]]>([
    ['BOOL', 'bool', varints(1, 1n, 0n, 1n), 1, ['1', '0', '1']],
    ['INT8', 'int8', varints(2, -128n, 0n, 127n), 2, ['-128', '0', '127']],
    ['INT16', 'int16', varints(2, -32768n, 1n, 32767n), 2, ['-32768', '1', '32767']],
    ['INT32', 'int32', varints(2, -(2n ** 31n), 7n, 2n ** 31n - 1n), 2, ['-2147483648', '7', '2147483647']],
    [
      'INT64',
      'int64',
      varints(3, -(2n ** 63n), 2n ** 53n + 1n, 2n ** 63n - 1n),
      3,
      ['-9223372036854775808', '9007199254740993', '9223372036854775807'],
    ],
    ['UINT8', 'uint8', packed(4, 0, 0xff, 1, 9), 4, ['0', '255', '9']],
    ['UINT16', 'uint16', varints(4, 0n, 1n, 65535n), 4, ['0', '1', '65535']],
    ['UINT32', 'uint32', varints(4, 0n, 1n, 2n ** 32n - 1n), 4, ['0', '1', '4294967295']],
    ['UINT64', 'uint64', varints(5, 0n, 2n ** 53n + 1n, -1n), 5, ['0', '9007199254740993', '-1']],
    ['FP32', 'float', [[6, singles(1.5, Number.NaN, -1)]], 6, ['1.5', 'NaN', '-1']],
    ['FP64', 'double', [[7, doubles]], 7, ['0.1', '0', 'Infinity']],
    [
      'BYTES',
      'string',
      [
        [8, 'ä'],
        [8, ''],
        [8, 'z'],
      ],
      8,
      ['ä', '', 'z'],
    ],
  ])(
    'takes %s in contents of its type, and gives it so to who wants that',
    async (datatype, type, contents, number, elements) => {
      await front.load(`same-${type}`, identity(type, [3]));
      const input: Field = [5, [...headFields('x', datatype, [3]), [5, contents]]];
      const raw = await client.call('ModelInfer', [[1, `same-${type}`], input]);
      expect(rawOutputsOf(raw)[0]?.shape).toEqual([3]);
      const binary: Field = [
        4,
        [
          [1, 'binary_data_output'],
          [2, [[1, false]]],
        ],
      ];
      const typed = await client.call('ModelInfer', [[1, `same-${type}`], binary, input]);
      expect(typed.get(6)).toBeUndefined();
      const [output = new Map()] = messagesIn(typed, 5);
      expect(valuesIn(messagesIn(output, 5)[0] ?? new Map(), number)).toEqual(elements);
      // The other way round as well: raw in, the same out.
      const [given = { elements: [] }] = rawOutputsOf(raw);
      expect(given.elements.length).toBe(3);
    },
  );

  it('gives halves raw, which have no contents of their own', async () => {
    await front.load('halves', identity('float16', [2]));
    const half = {
      name: 'x',
      datatype: 'FP16',
      shape: [2],
      bytes: new Uint8Array(Uint16Array.of(0x3c00, 0xc000).buffer),
    };
    const binary: Field = [
      4,
      [
        [1, 'binary_data_output'],
        [2, [[1, false]]],
      ],
    ];
    const answer = await client.call('ModelInfer', inferFields('halves', [half], [binary]));
    expect(rawOutputsOf(answer)[0]?.elements).toEqual(['1', '-2']);
  });

  it('tells what is wrong with the words of HTTP, and counts it as the caller’s doing', async () => {
    const wrong = { name: 'features', datatype: 'FP32', shape: [1, 3], bytes: singles(1, 2, 3) };
    const cases: [code: keyof typeof codes, tensors: WireTensor[], model: string, outputs: string[]][] = [
      ['NOT_FOUND', [features(1, 2)], 'nobody', []],
      ['INVALID_ARGUMENT', [wrong], 'sides', []],
      ['INVALID_ARGUMENT', [{ ...wrong, shape: [1, 2] }], 'sides', []],
      ['INVALID_ARGUMENT', [{ ...wrong, datatype: 'FP33' }], 'sides', []],
      ['INVALID_ARGUMENT', [{ ...wrong, datatype: 'BF16' }], 'sides', []],
      ['INVALID_ARGUMENT', [{ ...features(1, 2), name: 'other' }], 'sides', []],
      ['INVALID_ARGUMENT', [features(1, 2), features(1, 2)], 'sides', []],
      ['INVALID_ARGUMENT', [], 'sides', []],
      ['INVALID_ARGUMENT', [features(1, 2)], 'sides', ['none']],
      ['INVALID_ARGUMENT', [features(1, 2)], 'sides', ['scores', 'scores']],
      [
        'INVALID_ARGUMENT',
        [{ name: 'features', datatype: 'BYTES', shape: [1, 2], bytes: bytesOfStrings(['a', 'b']) }],
        'sides',
        [],
      ],
    ];
    for (const [code, tensors, model, outputs] of cases) {
      const rest = outputs.map((name): Field => [6, [[1, name]]]);
      const error = await failure(client.call('ModelInfer', inferFields(model, tensors, rest)));
      const { body, jsonBytes } = binaryBody(tensors, { outputs: outputs.map((name) => ({ name })) });
      const headers = { 'inference-header-content-length': String(jsonBytes) };
      const http = await front.post(`/v2/models/${model}/infer`, body, headers);
      expect([error.code, error.details]).toEqual([codes[code], JSON.parse(http.body.toString()).error]);
    }
    expect(front.records.every(({ outcome }) => outcome === 'invalid')).toBe(true);
    expect(front.records.length).toBe(2 * (cases.length - 1));
  });

  it.each<[string, Field[], RegExp]>([
    [
      'too few raw contents',
      [
        [5, headFields('features', 'FP32', [1, 2])],
        [5, headFields('b', 'FP32', [1])],
        [7, singles(1)],
      ],
      /raw_input_contents has 1 entries, the request has 2 inputs/,
    ],
    [
      'contents and raw contents',
      [
        [5, [...headFields('features', 'FP32', [1, 2]), [5, [[6, singles(1, 2)]]]]],
        [7, singles(1, 2)],
      ],
      /both contents and raw_input_contents/,
    ],
    [
      'contents of another type',
      [[5, [...headFields('features', 'FP32', [1, 2]), [5, [[7, singles(1, 2)]]]]]],
      /fp32_contents has 0 elements, but shape \[1,2\] of FP32 needs 2/,
    ],
    ['halves as contents', [[5, headFields('features', 'FP16', [1, 2])]], /use raw_input_contents/],
    ['an integer out of range', [[5, [...headFields('features', 'INT8', [1]), [5, [[2, 128]]]]]], /from -128 to 127/],
    [
      'a negative dimension',
      [[5, [...headFields('features', 'FP32', []), [3, -1]]]],
      /shape must hold integers from 0/,
    ],
    [
      'a shape that nobody can hold',
      [[5, headFields('features', 'FP32', [2 ** 31 - 1, 2 ** 31 - 1])]],
      /needs 46116860/,
    ],
    [
      'shared memory',
      [
        [
          5,
          [
            ...headFields('features', 'FP32', [1, 2]),
            [
              4,
              [
                [1, 'shared_memory_region'],
                [2, [[3, 'r']]],
              ],
            ],
          ],
        ],
      ],
      /shared memory is not offered here/,
    ],
    [
      'a reserved parameter',
      [
        [
          4,
          [
            [1, 'triton_x'],
            [2, [[1, true]]],
          ],
        ],
        [5, headFields('features', 'FP32', [1, 2])],
        [7, singles(1, 2)],
      ],
      /reserved/,
    ],
    [
      'an id that is too long',
      [
        [3, 'i'.repeat(201)],
        [5, headFields('features', 'FP32', [1, 2])],
        [7, singles(1, 2)],
      ],
      /at most 200/,
    ],
    ['no model', [[1, '']], /model_name is missing/],
  ])('refuses %s', async (_, fields, words) => {
    const error = await failure(client.call('ModelInfer', [[1, 'sides'], ...fields]));
    expect([error.code, error.details]).toEqual([codes.INVALID_ARGUMENT, expect.stringMatching(words)]);
  });

  it('answers whatever bytes it gets, and never as if they were its own fault', async () => {
    const good = encodeFields(inferFields('sides', [features(1, 0)], [[3, 'mine']]));
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(
          'ModelInfer',
          'ModelReady',
          'RepositoryModelLoad',
          'TraceSetting',
          'LogSettings',
          'RepositoryIndex',
        ),
        fc.uint8Array({ maxLength: 60 }),
        fc.nat(good.length),
        async (method, noise, cut) => {
          const bytes = Buffer.concat([good.subarray(0, cut), noise]);
          const error = await client.call(method, bytes).then(
            () => undefined,
            (reason: ServiceError) => reason,
          );
          if (error !== undefined)
            expect([codes.INVALID_ARGUMENT, codes.NOT_FOUND, codes.UNIMPLEMENTED]).toContain(error.code);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('is not harmed by callers who speak something else', async () => {
    const port = await front.grpc();
    for (const text of [
      'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
      'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\xff\xff',
      '\x16\x03\x01',
    ]) {
      const socket = connect(port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.resume();
      socket.end(text, 'latin1');
      await new Promise((resolve) => socket.once('close', resolve));
    }
    const own = grpcClient(port);
    expect(textIn(await own.call('ServerMetadata'), 2)).toBe('1.2.3');
    own.close();
  });

  it.each(['before it is handed over', 'and sent along'])(
    'takes a caller of whom something was read %s',
    async (how) => {
      const port = await front.grpc((accept, socket) => {
        socket.once('readable', () => {
          if (how === 'and sent along') accept(socket, socket.read().toString('base64'));
          else setImmediate(() => accept(socket));
        });
      });
      const own = grpcClient(port);
      const answer = await own.call('ModelInfer', inferFields('sides', [features(1, 0)]), { timeoutMs: 10_000 });
      expect(textIn(answer, 1)).toBe('sides');
      own.close();
    },
  );

  it('tells a deadline that passed, and one of the request’s own', async () => {
    const timeout: Field = [
      4,
      [
        [1, 'timeout'],
        [2, [[2, 1]]],
      ],
    ];
    const error = await failure(client.call('ModelInfer', inferFields('sides', [features(1, 0)], [timeout])));
    expect([error.code, error.details]).toEqual([codes.DEADLINE_EXCEEDED, expect.stringMatching(/deadline passed/)]);
    expect(front.observer.tally(loaded('sides')).expired).toBeGreaterThan(0);
  });

  function loaded(name: string) {
    const found = front.engine.list().find((each) => each.name === name);
    if (found === undefined) throw new Error(`${name} is not loaded`);
    return found.model;
  }

  it('says how it is: live, ready, health, metadata, configuration, statistics, index', async () => {
    const truth = async (method: string, fields: Field[] = []) => (await client.call(method, fields)).get(1)?.[0];
    expect(await truth('ServerLive')).toBe(1n);
    expect(await truth('ServerReady')).toBe(1n);
    expect(await truth('ModelReady', [[1, 'sides']])).toBe(1n);
    expect(
      await truth('ModelReady', [
        [1, 'sides'],
        [2, '9'],
      ]),
    ).toBeUndefined();
    expect(await truth('ModelReady', [[1, 'nobody']])).toBeUndefined();
    expect(await truth('/grpc.health.v1.Health/Check')).toBe(1n);
    expect((await failure(client.call('/grpc.health.v1.Health/Check', [[1, 'other']]))).code).toBe(codes.NOT_FOUND);
    const metadata = await client.call('ModelMetadata', [[1, 'sides']]);
    expect(textIn(messagesIn(metadata, 4)[0] ?? new Map(), 2)).toBe('FP32');
    expect((await failure(client.call('ModelMetadata', [[1, 'nobody']]))).details).toMatch(/unknown model/);
    const [config = new Map()] = messagesIn(await client.call('ModelConfig', [[1, 'sides']]), 1);
    expect([textIn(config, 17), config.get(4)?.[0]]).toEqual(['onnxruntime', 32n]);
    const [input = new Map()] = messagesIn(config, 5);
    expect(input.get(2)?.[0]).toBe(11n);
    const [stats = new Map()] = messagesIn(await client.call('ModelStatistics', [[1, 'sides']]), 1);
    expect(Number(stats.get(4)?.[0])).toBeGreaterThan(0);
    const all = messagesIn(await client.call('ModelStatistics'), 1);
    expect(all.length).toBe(front.engine.list().length);
    const index = messagesIn(await client.call('RepositoryIndex'), 1).map((entry) =>
      [1, 2, 3, 4].map((i) => textIn(entry, i)),
    );
    expect(index).toEqual(
      expect.arrayContaining([
        ['sides', '1', 'READY', ''],
        ['gone', '7', 'UNAVAILABLE', 'unloaded'],
        ['near', 'v1', 'UNAVAILABLE', 'no version'],
      ]),
    );
    expect(messagesIn(await client.call('RepositoryIndex', [[2, true]]), 1).length).toBe(front.engine.list().length);
  });

  it('tells how a model keeps sequences, and the inputs that are told of them', async () => {
    const one = (name: string, type: 'float' | 'bool' | 'int64') => ({ name, type, dims: [1] });
    const graph = encodeGraph({
      inputs: [
        one('x', 'float'),
        one('before', 'float'),
        one('START', 'float'),
        one('END', 'bool'),
        one('ID', 'int64'),
      ],
      outputs: [one('sum', 'float'), one('started', 'float'), one('ended', 'bool'), one('id', 'int64')],
      nodes: [
        { opType: 'Add', inputs: ['x', 'before'], outputs: ['sum'] },
        { opType: 'Identity', inputs: ['START'], outputs: ['started'] },
        { opType: 'Identity', inputs: ['END'], outputs: ['ended'] },
        { opType: 'Identity', inputs: ['ID'], outputs: ['id'] },
      ],
    });
    await front.load('remembers', graph, {
      inputs: { before: { state: 'sum' } },
      sequences: { idleSeconds: 7, controls: { start: 'START', end: 'END', id: 'ID' } },
    });
    const [config = new Map()] = messagesIn(await client.call('ModelConfig', [[1, 'remembers']]), 1);
    const [sequences = new Map()] = messagesIn(config, 13);
    expect(sequences.get(1)).toEqual([7_000_000n]);
    const controls = messagesIn(sequences, 2).map((input) => {
      const [control = new Map()] = messagesIn(input, 2);
      return [textIn(input, 1), control.get(1)?.[0] ?? 0n, control.get(4)?.[0] ?? 0n];
    });
    // Kinds START, END and CORRID; the type of the ids.
    expect(controls).toEqual([
      ['START', 0n, 0n],
      ['END', 2n, 0n],
      ['ID', 3n, 9n],
    ]);
    const [start = new Map(), end = new Map()] = messagesIn(sequences, 2).flatMap((input) => messagesIn(input, 2));
    expect(start.get(3)).toEqual([Buffer.from(new Uint8Array(Float32Array.of(0, 1).buffer))]);
    expect(end.get(5)).toEqual([Buffer.of(0, 1)]);
    const [state = new Map()] = messagesIn(sequences, 5);
    expect([textIn(state, 1), textIn(state, 2), state.get(3)?.[0], integersIn(state, 4)]).toEqual([
      'before',
      'sum',
      11n,
      [1n],
    ]);
    const [plain = new Map()] = messagesIn(await client.call('ModelConfig', [[1, 'sides']]), 1);
    expect(messagesIn(plain, 13)).toEqual([]);
  });

  it('loads and unloads through the same channel, with configuration', async () => {
    await client.call('RepositoryModelLoad', [[2, 'sides']]);
    await client.call('RepositoryModelUnload', [[2, 'sides']]);
    expect(asked.splice(0)).toEqual([
      ['load', 'sides', undefined],
      ['unload', 'sides', undefined],
    ]);
    const failed = await failure(client.call('RepositoryModelLoad', [[2, 'nobody']]));
    expect([failed.code, failed.details]).toEqual([codes.NOT_FOUND, 'failed to load "nobody"']);
    const config: Field = [
      3,
      [
        [1, 'config'],
        [2, [[3, '{"max_batch_size": 4}']]],
      ],
    ];
    const refused = await failure(client.call('RepositoryModelLoad', [[2, 'sides'], config]));
    expect([refused.code, refused.details]).toEqual([codes.UNIMPLEMENTED, expect.stringMatching(/control plane/)]);
    expect((await failure(client.call('RepositoryModelLoad', [[2, 'not a name']]))).details).toMatch(/name must be/);
  });

  it('tells its settings, refuses to change them, and offers no shared memory', async () => {
    const trace = await client.call('TraceSetting');
    expect(messagesIn(trace, 1).map((entry) => textIn(entry, 1))).toContain('trace_level');
    const level: Field = [
      1,
      [
        [1, 'trace_level'],
        [2, [[1, 'TIMESTAMPS']]],
      ],
    ];
    expect((await failure(client.call('TraceSetting', [level]))).code).toBe(codes.UNIMPLEMENTED);
    await client.call('TraceSetting', [
      [
        1,
        [
          [1, 'trace_level'],
          [2, []],
        ],
      ],
    ]);
    const logs = messagesIn(await client.call('LogSettings'), 1).map((entry) => textIn(entry, 1));
    expect(logs).toContain('log_info');
    expect(
      (
        await failure(
          client.call('LogSettings', [
            [
              1,
              [
                [1, 'log_info'],
                [2, [[1, false]]],
              ],
            ],
          ]),
        )
      ).code,
    ).toBe(codes.UNIMPLEMENTED);
    for (const kind of ['System', 'Cuda']) {
      for (const deed of ['Status', 'Register', 'Unregister']) {
        const error = await failure(client.call(`${kind}SharedMemory${deed}`, [[1, 'region']]));
        expect([error.code, error.details]).toEqual([codes.UNIMPLEMENTED, expect.stringMatching(/not offered here/)]);
      }
    }
    expect((await failure(client.call('NoSuchCall'))).code).toBe(codes.UNIMPLEMENTED);
  });

  it('answers a stream in order, goes on after one that fails, and ends when its caller does', async () => {
    const stream = client.stream();
    const count = 100;
    for (let i = 0; i < count; i++)
      stream.send(inferFields(i === 40 ? 'nobody' : 'sides', [features(i, 0)], [[3, `r${i}`]]));
    stream.end();
    expect(await stream.ended).toBeUndefined();
    const ids = stream.answers.map((answer) => textIn(messagesIn(answer, 2)[0] ?? new Map(), 3));
    expect(ids).toEqual(Array.from({ length: count }, (_, i) => `r${i}`));
    expect(stream.answers.flatMap((answer, i) => (textIn(answer, 1) === '' ? [] : [[i, textIn(answer, 1)]]))).toEqual([
      [40, 'Request for unknown model: "nobody"'],
    ]);
    const [first = new Map()] = messagesIn(stream.answers[0] ?? new Map(), 2);
    expect(messagesIn(first, 4).map((entry) => textIn(entry, 1))).toEqual(['triton_final_response']);
  });

  it('keeps what a run leaves for the next one of its sequence', async () => {
    const one = (name: string) => ({ name, type: 'float', dims: [1] }) as const;
    const adder = encodeGraph({
      inputs: [one('x'), one('before')],
      outputs: [one('sum')],
      nodes: [{ opType: 'Add', inputs: ['x', 'before'], outputs: ['sum'] }],
    });
    await front.load('adder', adder, { inputs: { before: { state: 'sum' } } });
    const parameter = (name: string, value: Field): Field => [
      4,
      [
        [1, name],
        [2, [value]],
      ],
    ];
    const stream = client.stream();
    for (let i = 0; i < 5; i++) {
      const at = [parameter('sequence_id', [2, 77]), parameter('sequence_start', [1, i === 0 ? 1 : 0])];
      stream.send(inferFields('adder', [{ ...features(2), name: 'x', shape: [1] }], at));
    }
    stream.end();
    expect(await stream.ended).toBeUndefined();
    const sums = stream.answers.map((answer) => rawOutputsOf(messagesIn(answer, 2)[0] ?? new Map())[0]?.elements);
    expect(sums).toEqual([['2'], ['4'], ['6'], ['8'], ['10']]);
  });

  it('ends a stream whose caller leaves, without failing anybody', async () => {
    const stream = client.stream();
    stream.send(inferFields('sides', [features(1, 0)]));
    await until('an answer', async () => stream.answers.length > 0 || undefined);
    stream.cancel();
    expect(await stream.ended).toMatchObject({ code: codes.CANCELLED });
    expect(front.records.map(({ outcome }) => outcome)).toEqual(['ok']);
  });

  it('takes messages up to the bound of HTTP bodies and no larger ones', async () => {
    const error = await failure(client.call('ModelInfer', Buffer.alloc(64 * 1024 * 1024 + 1)));
    expect(error.code).toBe(codes.RESOURCE_EXHAUSTED);
  });

  it('asks for the token, its right and its rate, but not from probes', async () => {
    const camera = { ...fullToken('camera-token'), rights: ['infer' as const], perSecond: 0.001, burst: 2 };
    const labels = { ...fullToken('label-token'), name: 'labels', rights: ['feedback' as const] };
    const checkToken = createTokenCheck({ tokens: [camera, labels], nowMs: () => 0 });
    const guarded = await serveFront({ checkToken });
    const own = grpcClient(await guarded.grpc());
    const as = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
    try {
      await guarded.load(
        'sides',
        softmaxClassifier(
          [
            [5, 0],
            [0, 5],
          ],
          [0, 0],
        ),
      );
      const fields = inferFields('sides', [features(1, 0)]);
      await own.call('/grpc.health.v1.Health/Check');
      expect((await failure(own.call('ServerLive'))).code).toBe(codes.UNAUTHENTICATED);
      expect(await failure(own.call('ModelInfer', fields))).toMatchObject({
        code: codes.UNAUTHENTICATED,
        details: expect.stringMatching(/Bearer TOKEN/),
      });
      await own.call('ServerLive', [], as('label-token'));
      expect((await failure(own.call('ModelInfer', fields, as('label-token')))).code).toBe(codes.PERMISSION_DENIED);
      expect((await failure(own.call('RepositoryModelUnload', [[2, 'sides']], as('label-token')))).code).toBe(
        codes.PERMISSION_DENIED,
      );
      const denied = own.stream(as('label-token'));
      denied.send(fields);
      await until('a refusal', async () => denied.answers.length > 0 || undefined);
      expect(textIn(denied.answers[0] ?? new Map(), 1)).toMatch(/lacks the right "infer"/);
      denied.cancel();
      await own.call('ModelInfer', fields, as('camera-token'));
      await own.call('ModelInfer', fields, as('camera-token'));
      const fast = await failure(own.call('ModelInfer', fields, as('camera-token')));
      expect([fast.code, fast.metadata.get('retry-after')]).toEqual([codes.RESOURCE_EXHAUSTED, ['1000']]);
    } finally {
      own.close();
      await guarded.close();
    }
  });

  it('ends open streams when it is to stop, after what they asked is answered', async () => {
    const stopping = await serveFront();
    const own = grpcClient(await stopping.grpc());
    await stopping.load(
      'sides',
      softmaxClassifier(
        [
          [5, 0],
          [0, 5],
        ],
        [0, 0],
      ),
    );
    const idle = own.stream();
    const busy = own.stream();
    for (const stream of [idle, busy]) stream.send(inferFields('sides', [features(1, 0)]));
    await until('answers', async () => (idle.answers.length > 0 && busy.answers.length > 0) || undefined);
    for (let i = 0; i < 10; i++) busy.send(inferFields('sides', [features(1, 0)]));
    await until('the requests', async () => busy.answers.length > 1 || undefined);
    await stopping.drainGrpc();
    expect(await idle.ended).toMatchObject({ code: codes.UNAVAILABLE, details: expect.stringMatching(/stopping/) });
    expect(await busy.ended).toMatchObject({ code: codes.UNAVAILABLE });
    own.close();
    await stopping.close();
  });
});

/** The elements of a list, packed or not, as texts. */
function valuesIn(contents: Fields, number: number): string[] {
  if (number < 6) return integersIn(contents, number).map(String);
  return (contents.get(number) ?? []).flatMap((value) => {
    if (!Buffer.isBuffer(value)) return [String(value)];
    if (number === 8) return [value.toString()];
    const width = number === 6 ? 4 : 8;
    const floats = Array.from({ length: value.length / width }, (_, i) =>
      width === 4 ? value.readFloatLE(i * 4) : value.readDoubleLE(i * 8),
    );
    return floats.map(String);
  });
}
