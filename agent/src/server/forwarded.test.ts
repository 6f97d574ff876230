import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Field,
  type GrpcClient,
  grpcClient,
  inferFields,
  messagesIn,
  rawOutputsOf,
  textIn,
} from '../../../test/support/grpc.ts';
import { encodeGraph } from '../../../test/support/onnx-models.ts';
import { binaryBody, outputsOf } from '../../../test/support/v2.ts';
import { ForwardedCall } from '../process/ipc.ts';
import { type ServedFront, serveFront } from './front-fixture.ts';
import { createNeighbours, type Neighbours } from './neighbours.ts';

const one = (name: string) => ({ name, type: 'float', dims: [1] }) as const;
const adder = encodeGraph({
  inputs: [one('x'), one('before')],
  outputs: [one('sum')],
  nodes: [{ opType: 'Add', inputs: ['x', 'before'], outputs: ['sum'] }],
});
const path = '/v2/models/adder/infer';
const x = { name: 'x', datatype: 'FP32', shape: [1], data: [2] };
const wire = { name: 'x', datatype: 'FP32', shape: [1], bytes: new Uint8Array(Float32Array.of(2).buffer) };

describe('a sequence whose requests come to two processes', () => {
  let home: ServedFront;
  let other: ServedFront;
  let client: GrpcClient;
  beforeAll(async () => {
    home = await serveFront();
    const neighbours: Neighbours = {
      ...createNeighbours({ process: 1, count: 2 }, () => undefined),
      homeOf: () => 0,
      // As it travels between processes.
      forward: (_, call) => home.forwarded(ForwardedCall.parse(JSON.parse(JSON.stringify(call)))),
    };
    other = await serveFront({ neighbours });
    client = grpcClient(await other.grpc());
    for (const each of [home, other]) await each.load('adder', adder, { inputs: { before: { state: 'sum' } } });
  });
  afterAll(async () => {
    client.close();
    await Promise.all([home.close(), other.close()]);
  });
  const ask = (front: ServedFront, parameters: object) => front.post(path, { inputs: [x], parameters });

  it('goes on in one of them, where its requests are counted', async () => {
    const sums: unknown[] = [];
    for (const [i, front] of [home, other, other, home].entries()) {
      const answer = await ask(front, { sequence_id: 1, sequence_start: i === 0, sequence_end: i === 3 });
      sums.push(answer.json());
    }
    expect(sums).toMatchObject([2, 4, 6, 8].map((sum) => ({ outputs: [{ data: [sum] }] })));
    expect([home.records.length, other.records.length]).toEqual([4, 0]);
    // Requests of none stay where they came.
    const alone = await other.post(path, { inputs: [x, { ...x, name: 'before' }] });
    expect([alone.status, other.records.length]).toEqual([200, 1]);
  });

  it('is answered in the form that was asked for, and refused in the same words', async () => {
    const parameters = { sequence_id: 'two', sequence_start: true };
    const { body, jsonBytes } = binaryBody([wire], {
      parameters,
      outputs: [{ name: 'sum', parameters: { binary_data: true } }],
    });
    const headers = { 'inference-header-content-length': String(jsonBytes) };
    const [here, there] = [await home.post(path, body, headers), await other.post(path, body, headers)];
    expect(there.headers).toMatchObject({ 'content-type': 'application/octet-stream' });
    expect(outputsOf(there)).toEqual(outputsOf(here));
    for (const wrong of [{ sequence_id: 99 }, { sequence_id: 1, sequence_start: 7 }]) {
      const answers = [await ask(home, wrong), await ask(other, wrong)];
      expect(answers.map(({ status }) => status)).toEqual([400, 400]);
      expect(answers[1]?.json()).toEqual(answers[0]?.json());
    }
  });

  it('goes on over gRPC, also within a stream, in its order', async () => {
    const parameter = (name: string, value: Field): Field => [
      4,
      [
        [1, name],
        [2, [value]],
      ],
    ];
    const at = (i: number) => [parameter('sequence_id', [2, 77]), parameter('sequence_start', [1, i === 0 ? 1 : 0])];
    const stream = client.stream();
    for (let i = 0; i < 5; i++) stream.send(inferFields('adder', [wire], at(i)));
    stream.end();
    expect(await stream.ended).toBeUndefined();
    const answers = stream.answers.map((answer) => messagesIn(answer, 2)[0] ?? new Map());
    expect(answers.map((answer) => rawOutputsOf(answer)[0]?.elements)).toEqual([['2'], ['4'], ['6'], ['8'], ['10']]);
    for (const answer of answers)
      expect(messagesIn(answer, 4).map((entry) => textIn(entry, 1))).toEqual(['triton_final_response']);
    const last = await client.call('ModelInfer', inferFields('adder', [wire], at(5)));
    expect(rawOutputsOf(last)[0]?.elements).toEqual(['12']);
    const unknown = [parameter('sequence_id', [2, 78])];
    await expect(client.call('ModelInfer', inferFields('adder', [wire], unknown))).rejects.toMatchObject({
      code: 3,
      details: expect.stringContaining('sequence 78 of model "adder" is not known'),
    });
  });
});
