import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeHalf, encodeHalf } from './float16.ts';
import { sizeBytes, tensorFromJson, tensorToJson } from './tensor-data.ts';
import { datatypes } from './tensors.ts';

const x = (datatype: (typeof datatypes)[number], data: unknown, shape?: number[]) =>
  tensorFromJson({ name: 'x', datatype, shape: shape ?? [Array.isArray(data) ? data.length : 0], data });

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const asJson = (value: bigint) => (Number.isSafeInteger(Number(value)) ? Number(value) : value.toString());
const values = {
  BOOL: fc.boolean(),
  UINT8: fc.nat(255),
  UINT16: fc.nat(65535),
  UINT32: fc.nat(2 ** 32 - 1),
  UINT64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(asJson),
  INT8: fc.integer({ min: -128, max: 127 }),
  INT16: fc.integer({ min: -32768, max: 32767 }),
  INT32: fc.integer(),
  INT64: int64.map(asJson),
  FP16: fc.oneof(
    fc.nat(65535).map(decodeHalf).filter(Number.isFinite),
    fc.constantFrom('NaN', 'Infinity', '-Infinity'),
  ),
  FP32: fc.oneof(fc.float({ noNaN: true, noDefaultInfinity: true }), fc.constantFrom('NaN', 'Infinity', '-Infinity')),
  FP64: fc.double({ noNaN: true, noDefaultInfinity: true }),
  BYTES: fc.string().filter((text) => !text.includes('\0')),
} satisfies Record<(typeof datatypes)[number], fc.Arbitrary<number | boolean | string>>;

describe('tensors', () => {
  it.each(datatypes)('%s survives the way from JSON and back', (datatype) => {
    fc.assert(
      fc.property(fc.array<number | boolean | string>(values[datatype], { maxLength: 20 }), (data) => {
        const there = x(datatype, data);
        expect(there.data).toHaveLength(data.length);
        expect(tensorToJson(there)).toEqual({ datatype, shape: [data.length], data });
      }),
    );
  });

  it('takes nested data row by row', () => {
    expect(x('FP32', [[[1, 2]], [[3, 4]], [[5, 6]]], [3, 1, 2]).data).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
    expect(x('INT64', [[], []], [2, 0]).data).toHaveLength(0);
    expect(x('FP32', [7], []).data).toEqual(Float32Array.of(7));
  });

  it.each([
    ['FP32', ['1'], 'data[0] must be a number'],
    ['FP32', [1, null], 'data[1] must be a number'],
    ['FP32', [1e300], 'data[0] must be a number up to'],
    ['FP32', [[[1]], 2], 'data[0]'],
    ['INT64', [2 ** 53], 'beyond 2^53 as a string of digits'],
    ['INT64', ['9223372036854775808'], 'data[0] must be an integer'],
    ['UINT8', [256], 'an integer from 0 to 255'],
    ['UINT8', [1.5], 'an integer from 0 to 255'],
    ['BOOL', ['yes'], 'true or false'],
    ['BYTES', ['a\0b'], 'NUL'],
    ['FP32', 'abc', 'data must be an array'],
  ] as const)('refuses %s %j, naming the input', (datatype, data, reason) => {
    const wrong = () => x(datatype, data, [typeof data === 'string' ? 1 : data.length]);
    expect(wrong).toThrow('input "x"');
    expect(wrong).toThrow(reason);
  });

  it('refuses a count that is not what the shape says', () => {
    expect(() => x('FP32', [1, 2, 3], [2, 2])).toThrow('data has 3 elements, but shape [2,2] needs 4');
  });

  it('knows its size in memory', () => {
    expect(sizeBytes(x('FP64', [1, 2, 3]))).toBe(24);
    expect(sizeBytes(x('BYTES', ['abcd']))).toBeGreaterThan(4);
  });
});

describe('half-precision floats', () => {
  it('have the same bits after decoding and encoding, all 65536 of them', () => {
    for (let bits = 0; bits < 65536; bits++) {
      const value = decodeHalf(bits);
      if (Number.isNaN(value)) expect(Number.isNaN(decodeHalf(encodeHalf(value)))).toBe(true);
      else if (encodeHalf(value) !== bits) expect(`${bits}: ${encodeHalf(value)}`).toBe(`${bits}`);
    }
  });

  it('round to the nearest, ties to even', () => {
    expect(encodeHalf(1 + 2 ** -11)).toBe(encodeHalf(1));
    expect(encodeHalf(1 + 3 * 2 ** -11)).toBe(encodeHalf(1 + 2 ** -9));
    expect(encodeHalf(65519)).toBe(encodeHalf(65504));
    expect(decodeHalf(encodeHalf(65520))).toBe(Number.POSITIVE_INFINITY);
  });
});
