// Every datatype that the binding takes goes through the port unharmed, as JSON and as binary, in awkward shapes too.
import { decodeHalf, encodeHalf } from '@edgeloop/shared/float16';
import { expect, test } from 'vitest';
import { onBothWays } from '../support/both-ways.ts';
import { type ElementType, identity } from '../support/onnx-models.ts';
import { type FolderServer, writeModel } from '../support/serving.ts';
import {
  type AnsweredTensor,
  binaryBody,
  bytesOfStrings,
  elementTexts,
  jsonBody,
  outputsOf,
  post,
  type WireTensor,
} from '../support/v2.ts';

interface Kind {
  type: ElementType;
  datatype: string;
  bytes: Uint8Array;
}

const of = (array: { buffer: ArrayBufferLike }): Uint8Array => new Uint8Array(array.buffer);
const { NaN: nan, POSITIVE_INFINITY: infinity } = Number;
const tiny = 2 ** -149;

/** Six elements each, the extremes among them. */
const kinds: Kind[] = [
  { type: 'bool', datatype: 'BOOL', bytes: Uint8Array.of(1, 0, 1, 1, 0, 0) },
  { type: 'uint8', datatype: 'UINT8', bytes: Uint8Array.of(0, 1, 127, 128, 254, 255) },
  { type: 'int8', datatype: 'INT8', bytes: of(Int8Array.of(0, 1, -1, 127, -127, -128)) },
  { type: 'uint16', datatype: 'UINT16', bytes: of(Uint16Array.of(0, 1, 255, 256, 65534, 65535)) },
  { type: 'int16', datatype: 'INT16', bytes: of(Int16Array.of(0, 1, -1, 32767, -32767, -32768)) },
  { type: 'uint32', datatype: 'UINT32', bytes: of(Uint32Array.of(0, 1, 65536, 2 ** 31, 2 ** 32 - 2, 2 ** 32 - 1)) },
  { type: 'int32', datatype: 'INT32', bytes: of(Int32Array.of(0, 1, -1, 2 ** 31 - 1, 1 - 2 ** 31, -(2 ** 31))) },
  {
    type: 'uint64',
    datatype: 'UINT64',
    bytes: of(BigUint64Array.of(0n, 1n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n)),
  },
  {
    type: 'int64',
    datatype: 'INT64',
    bytes: of(BigInt64Array.of(0n, -1n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n))),
  },
  {
    type: 'float16',
    datatype: 'FP16',
    bytes: of(Uint16Array.from([0, -0.5, 65504, 2 ** -24, nan, -infinity], encodeHalf)),
  },
  { type: 'float', datatype: 'FP32', bytes: of(Float32Array.of(0, -0.1, 3.4028235e38, tiny, nan, infinity)) },
  { type: 'double', datatype: 'FP64', bytes: of(Float64Array.of(0, -0.1, Number.MAX_VALUE, 5e-324, nan, -infinity)) },
  { type: 'string', datatype: 'BYTES', bytes: bytesOfStrings(['', 'a', 'ü', '😀', '"\\\n', 'x'.repeat(1000)]) },
];

let server: FolderServer;
const begin = (started: FolderServer): void => {
  server = started;
};

async function write(folder: string): Promise<void> {
  for (const { type } of kinds) {
    await writeModel(folder, `${type}-any`, identity(type, ['a', 'b']));
    await writeModel(folder, `${type}-scalar`, identity(type, []));
  }
}

/** Single precision may be written with just the digits that tell it from its neighbours. */
function exact(tensor: AnsweredTensor): AnsweredTensor {
  const { datatype } = tensor;
  if (datatype !== 'FP32' && datatype !== 'FP16') return tensor;
  const round = datatype === 'FP32' ? Math.fround : (value: number) => decodeHalf(encodeHalf(value));
  return { ...tensor, elements: tensor.elements.map((text) => String(round(Number(text)))) };
}

async function echoed(model: string, input: WireTensor, asBinary: boolean, wantBinary: boolean) {
  const url = `${server.url}/v2/models/${model}/infer`;
  const rest = { parameters: { binary_data_output: wantBinary } };
  if (!asBinary) return outputsOf(await post(url, jsonBody([input], rest))).map(exact);
  const { body, jsonBytes } = binaryBody([input], rest);
  return outputsOf(await post(url, body, { 'inference-header-content-length': String(jsonBytes) })).map(exact);
}

/** As `outputsOf` gives elements. */
function expected({ datatype, bytes }: WireTensor): string[] {
  const texts = elementTexts({ datatype, bytes });
  return datatype === 'BYTES' || datatype.startsWith('FP') ? texts.map((text) => String(JSON.parse(text))) : texts;
}

const ways = [
  [false, false],
  [true, true],
  [true, false],
  [false, true],
] as const;
const form = (binary: boolean) => (binary ? 'binary' : 'JSON');

onBothWays({ write, begin }, () => {
  for (const { type, datatype, bytes } of kinds) {
    test.each(ways)(`${datatype}, binary in %s, binary out %s`, async (asBinary, wantBinary) => {
      const input = { name: 'x', datatype, bytes, shape: [2, 3] };
      const answer = await echoed(`${type}-any`, input, asBinary, wantBinary);
      expect(answer, `${form(asBinary)} in, ${form(wantBinary)} out`).toEqual([
        { name: 'y', datatype, shape: [2, 3], elements: expected(input) },
      ]);
    });

    test(`${datatype}: no elements, and one without dimensions`, async () => {
      const width = datatype === 'BYTES' ? 4 : bytes.length / 6;
      for (const [asBinary, wantBinary] of ways) {
        const empty = { name: 'x', datatype, bytes: new Uint8Array(), shape: [0, 3] };
        const none = { name: 'y', datatype, shape: [0, 3], elements: [] };
        expect(await echoed(`${type}-any`, empty, asBinary, wantBinary)).toEqual([none]);
        const scalar = { name: 'x', datatype, bytes: bytes.slice(0, width), shape: [] };
        const one = { name: 'y', datatype, shape: [], elements: expected(scalar) };
        expect(await echoed(`${type}-scalar`, scalar, asBinary, wantBinary)).toEqual([one]);
      }
    });
  }

  test('nested data is the same as flat data', async () => {
    const nested = {
      name: 'x',
      datatype: 'INT32',
      shape: [2, 2],
      data: [
        [1, 2],
        [3, 4],
      ],
    };
    const answer = await post(`${server.url}/v2/models/int32-any/infer`, JSON.stringify({ inputs: [nested] }));
    expect(outputsOf(answer)).toMatchObject([{ shape: [2, 2], elements: ['1', '2', '3', '4'] }]);
  });
});
