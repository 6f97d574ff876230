import { tensorToJson } from '@edgeloop/shared/tensor-data';
import { datatypes } from '@edgeloop/shared/tensors';
import { describe, expect, it } from 'vitest';
import { madeUpInput, smallestShape } from './made-up-input.ts';

describe('an input that is made up', () => {
  it('is zeros of any datatype, with free dimensions as 1', () => {
    for (const datatype of datatypes) {
      const spec = { name: 'x', datatype, shape: [-1, 2] };
      const { data } = tensorToJson(madeUpInput(spec, smallestShape(spec)));
      expect(data).toEqual(datatype === 'BYTES' ? ['', ''] : datatype === 'BOOL' ? [false, false] : [0, 0]);
    }
  });

  it('repeats the values it is given, as far as it is long', () => {
    const values = { FP32: [1.5, 2], FP16: [0.5, 2], INT64: ['9007199254740993', 1], BYTES: ['a', 'b'] } as const;
    for (const datatype of ['FP32', 'FP16', 'INT64', 'BYTES'] as const) {
      const [first, second] = values[datatype];
      const input = madeUpInput({ name: 'x', datatype, shape: [-1] }, [3], values[datatype]);
      expect(tensorToJson(input)).toEqual({ datatype, shape: [3], data: [first, second, first] });
    }
  });

  it('names the value that the datatype cannot hold', () => {
    const make = () => madeUpInput({ name: 'x', datatype: 'UINT8', shape: [2] }, [2], [1, 256]);
    expect(make).toThrow('input "x": data[1] must be an integer from 0 to 255');
  });
});
