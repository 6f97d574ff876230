import { type NamedTensor, tensorFromJson } from '@edgeloop/shared/tensor-data';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readNumber, scanNumber, scanned } from './numbers.ts';
import { readRawRequest, readRequest } from './request.ts';

const bodyOf = (value: unknown): Buffer => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const read = (value: unknown) => readRequest(bodyOf(value), undefined);
const one = (datatype: string, shape: number[], data: string): NamedTensor | undefined =>
  read(`{"inputs":[{"name":"x","datatype":"${datatype}","shape":${JSON.stringify(shape)},"data":${data}}]}`).inputs[0];

/** What JSON.parse makes of the same request. */
function byJsonParse(text: string): NamedTensor[] {
  const request: { inputs: Parameters<typeof tensorFromJson>[0][] } = JSON.parse(text);
  return request.inputs.map(({ name, datatype, shape, data }) => tensorFromJson({ name, datatype, shape, data }));
}

const spaces = fc.stringMatching(/^[ \n\t\r]{0,2}$/);
const digits = fc.stringMatching(/^(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?$/);
const numberTexts = fc.oneof(
  fc.double().map((value) => JSON.stringify(value)),
  fc.float().map((value) => JSON.stringify(value)),
  fc.integer().map(String),
  fc.tuple(fc.constantFrom('', '-'), digits).map(([sign, text]) => sign + text),
);
const elementTexts = {
  FP32: fc.oneof(numberTexts, fc.constantFrom('"NaN"', '"Infinity"', '"-Infinity"', '1e39', '-0', '3.4028235e38')),
  FP64: fc.oneof(numberTexts, fc.constantFrom('"NaN"', '1e999', '-0.0')),
  FP16: fc.oneof(numberTexts, fc.constantFrom('"Infinity"', '65504', '65505', '0.00006')),
  INT8: fc.oneof(numberTexts, fc.constantFrom('127', '-129', '1.0', '1e1', '1.5')),
  UINT32: fc.oneof(numberTexts, fc.constantFrom('4294967295', '4294967296', '-1')),
  INT64: fc.oneof(fc.maxSafeInteger().map(String), fc.constantFrom('"9223372036854775807"', '1e3', '"x"', '1.5')),
  UINT64: fc.oneof(fc.maxSafeInteger().map(String), fc.constantFrom('"18446744073709551615"', '-1')),
  BOOL: fc.constantFrom('true', 'false', '0', '1', '2', 'null'),
  BYTES: fc.oneof(
    fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
    fc.string().map((text) => JSON.stringify(text)),
    fc.constantFrom('1', 'null', '"\\u0000"', '"\\ud83d\\ude00"'),
  ),
};
const requests = fc
  .constantFrom(...(['FP32', 'FP64', 'FP16', 'INT8', 'UINT32', 'INT64', 'UINT64', 'BOOL', 'BYTES'] as const))
  .chain((datatype) =>
    fc.record({
      datatype: fc.constant(datatype),
      elements: fc.array(elementTexts[datatype], { maxLength: 6 }),
      rows: fc.option(fc.integer({ min: 1, max: 3 })),
      space: spaces,
      dataFirst: fc.boolean(),
    }),
  )
  .map(({ datatype, elements, rows, space, dataFirst }) => {
    const joined = (part: string[]): string => `[${part.join(`${space},${space}`)}]`;
    const width = rows === null ? 0 : Math.floor(elements.length / rows);
    const data =
      rows === null
        ? joined(elements)
        : joined(Array.from({ length: rows }, (_, row) => joined(elements.slice(row * width, (row + 1) * width))));
    const shape = rows === null ? [elements.length] : [rows, width];
    const fields = [`"name":"x"`, `"datatype":"${datatype}"`, `"shape":[${shape}]`];
    const all = dataFirst ? [`"data":${space}${data}`, ...fields] : [...fields, `"data":${space}${data}`];
    return `{"id":"é\\n",${space}"inputs":[{${all.join(`,${space}`)}}],"more":{"a":[1,{"b":null}]}}${space}`;
  });

describe('the scanner of requests', () => {
  it('agrees with JSON.parse about every request', () => {
    fc.assert(
      fc.property(requests, (text) => {
        let expected: NamedTensor[] | undefined;
        try {
          expected = byJsonParse(text);
        } catch {
          expected = undefined;
        }
        if (expected === undefined) expect(() => read(text)).toThrow(/input "x"/);
        else expect(read(text)).toMatchObject({ id: 'é\n', inputs: expected });
      }),
      { numRuns: 3000 },
    );
  });

  it('reads every number as JSON.parse does, and every single-precision one to the same float', () => {
    fc.assert(
      fc.property(numberTexts, (text) => {
        const bytes = Buffer.from(`${text},`);
        if (text === 'null') return;
        expect(readNumber({ bytes, at: 0 })).toBe(JSON.parse(text));
        expect(scanNumber({ bytes, at: 0 }, true)).toBe(true);
        expect(Math.fround(scanned[0] ?? 7)).toBe(Math.fround(JSON.parse(text)));
      }),
      { numRuns: 5000 },
    );
  });

  it('refuses every cut-off or altered request, or takes it as JSON.parse does', () => {
    const text = '{"id":"a","inputs":[{"name":"x","datatype":"FP32","shape":[2,1],"data":[[1.5e0],[-2]]}]}';
    fc.assert(
      fc.property(
        fc.nat(text.length - 1),
        fc.constantFrom('', '"', '[', '}', ',', '0', '-', '\\', ' ', 'é'),
        (at, put) => {
          const altered = text.slice(0, at) + put + text.slice(at + 1);
          let parsed: unknown;
          try {
            parsed = JSON.parse(altered);
          } catch {
            parsed = undefined;
          }
          if (parsed === undefined) expect(() => read(altered)).toThrow();
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('keeps 64-bit integers exact, as numbers or as strings', () => {
    const big = '[9223372036854775807,-9223372036854775808,"9007199254740993",-9007199254740993,-1]';
    expect(one('INT64', [5], big)?.data).toEqual(
      BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n), 9007199254740993n, -9007199254740993n, -1n),
    );
    expect(one('UINT64', [2], '[18446744073709551615,4294967296]')?.data).toEqual(
      BigUint64Array.of(2n ** 64n - 1n, 2n ** 32n),
    );
    expect(() => one('INT64', [1], '[9223372036854775808]')).toThrow('data[0] must be an integer');
  });

  it('takes scalars, zero-size dimensions and bare names of non-finite numbers', () => {
    expect(one('FP32', [], '[7]')).toMatchObject({ shape: [], data: Float32Array.of(7) });
    expect(one('FP32', [0, 3], '[]')).toMatchObject({ shape: [0, 3], data: new Float32Array(0) });
    expect(one('FP32', [2, 0], '[[],[]]')?.data).toEqual(new Float32Array(0));
    expect(one('FP32', [3], '[NaN,Infinity,-Infinity]')?.data).toEqual(Float32Array.of(Number.NaN, 1 / 0, -1 / 0));
  });

  it.each([
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}', 'not valid JSON'],
    ['{"inputs":[]} x', 'not valid JSON'],
    ['[]', 'must be an object'],
    ['{}', 'request.inputs is missing'],
    ['{"inputs":null}', 'request.inputs must be an array'],
    ['{"inputs":[null]}', 'request.inputs.0 must be an object'],
    ['{"inputs":[{"datatype":"FP32","shape":[1],"data":[1]}]}', 'request.inputs.0.name is missing'],
    ['{"inputs":[{"name":"x","datatype":"BF16","shape":[1],"data":[1]}]}', "BF16 can't be served"],
    ['{"inputs":[{"name":"x","datatype":"FP31","shape":[1],"data":[1]}]}', 'must be one of BOOL'],
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[-1],"data":[1]}]}', 'input "x": shape must hold integers'],
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[1.5],"data":[1]}]}', 'input "x": shape must hold integers'],
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[1]}]}', 'input "x": data is missing'],
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":null}]}', 'input "x": data must be an array'],
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[null]}]}', 'input "x": data[0] must be a number'],
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":["1"]}]}', 'input "x": data[0] must be a number'],
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[[1,2,3],[4]]}]}', 'nested otherwise'],
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1,2]}]}', 'more elements than shape [1]'],
    ['{"inputs":[{"name":"x","datatype":"FP32","shape":[1000000000],"data":[1]}]}', 'fewer elements than its shape'],
    ['{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["a\\u0000b"]}]}', 'without NUL'],
    ['{"inputs":[],"inputs":[]}', 'request.inputs is given twice'],
    ['{"inputs":[],"parameters":[]}', 'request.parameters must be an object'],
    ['{"inputs":[],"outputs":[{"name":"a"},{"name":"a"}]}', 'output "a" is asked for twice'],
    [`{"a":${'['.repeat(100000)}`, 'nested deeper'],
    [`{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":${'['.repeat(100000)}`, 'nested deeper'],
  ])('says what is wrong with %.90s', (text, reason) => {
    expect(() => read(text)).toThrow(
      expect.objectContaining({ code: 'invalid_request', message: expect.stringContaining(reason) }),
    );
  });

  it('does not mistake a name for anything else', () => {
    const text = '{"__proto__":{"inputs":[]},"inputs":[{"name":"__proto__","datatype":"INT8","shape":[1],"data":[1]}]}';
    expect(read(text).inputs).toEqual([{ name: '__proto__', datatype: 'INT8', shape: [1], data: Int8Array.of(1) }]);
  });
});

describe('binary tensors in requests', () => {
  const request = (inputs: object[], ...blobs: Buffer[]) => {
    const json = bodyOf({ inputs });
    return readRequest(Buffer.concat([json, ...blobs]), json.length);
  };
  const input = (datatype: string, shape: number[], size: unknown, name = 'x') => ({
    name,
    datatype,
    shape,
    parameters: { binary_data_size: size },
  });

  it('are read from wherever they lie', () => {
    const floats = Buffer.from(Float32Array.of(1.5, -2).buffer);
    const long = Buffer.from(BigInt64Array.of(-5n).buffer);
    for (const pad of ['', ' ', '  ', '   ']) {
      const json = Buffer.from(
        `${JSON.stringify({ inputs: [input('FP32', [2], 8), input('INT64', [1], 8, 'y')] })}${pad}`,
      );
      const { inputs } = readRequest(Buffer.concat([json, floats, long]), json.length);
      expect(inputs).toMatchObject([{ data: Float32Array.of(1.5, -2) }, { data: BigInt64Array.of(-5n) }]);
    }
  });

  it('may be strings', () => {
    const blob = Buffer.from('\x02\0\0\0hi\0\0\0\0\x02\0\0\0é');
    expect(request([input('BYTES', [3], blob.length)], blob).inputs[0]?.data).toEqual(['hi', '', 'é']);
  });

  const four = Buffer.alloc(4);
  it.each([
    [[input('FP32', [1], 8)], [four], 'only 4 bytes are left'],
    [[input('FP32', [1], 4)], [four, four], '4 bytes more than its inputs say'],
    [[input('FP32', [2], 4)], [four], 'binary_data_size is 4, but shape [2] of FP32 needs 8'],
    [[input('FP32', [1], -4)], [four], 'binary_data_size must be a number of bytes'],
    [[input('FP32', [1], '4')], [four], 'binary_data_size must be a number of bytes'],
    [[input('FP32', [2 ** 30], 2 ** 32)], [four], 'only 4 bytes are left'],
    [[input('BOOL', [1], 1)], [Buffer.of(2)], 'must be 0 or 1'],
    [[input('BYTES', [1], 4)], [Buffer.from([255, 255, 255, 255])], 'element 0 is cut off'],
    [[input('BYTES', [1], 5)], [Buffer.from([1, 0, 0, 0, 0])], 'without NUL'],
    [[input('BYTES', [1], 5)], [Buffer.from([1, 0, 0, 0, 0xff])], 'must be UTF-8'],
    [[input('BYTES', [1], 8)], [four, four], 'has more elements'],
    [[input('BYTES', [3], 8)], [four, four], 'has 2 elements'],
  ])('that lie are refused: %j', (inputs, blobs, reason) => {
    expect(() => request(inputs, ...blobs)).toThrow(reason);
  });

  it('may be the whole body', () => {
    const spec = (shape: number[], datatype: 'FP32' | 'BYTES' = 'FP32') => ({
      inputs: [{ name: 'x', datatype, shape }],
      outputs: [],
    });
    const body = Buffer.from(Float32Array.of(1, 2, 3, 4).buffer);
    expect(readRawRequest(body, spec([-1, -1])).inputs[0]).toMatchObject({ shape: [1, 4] });
    expect(readRawRequest(body, spec([-1, 2])).inputs[0]).toMatchObject({ shape: [2, 2] });
    expect(readRawRequest(Buffer.from('text'), spec([1], 'BYTES')).inputs[0]).toMatchObject({ data: ['text'] });
    expect(() => readRawRequest(body, spec([-1, 3]))).toThrow('binary_data_size is 16');
    expect(() => readRawRequest(body, spec([3, -1, -1]))).toThrow('too many free dimensions');
    expect(() => readRawRequest(body, { inputs: [], outputs: [] })).toThrow('one input');
  });
});
