import { elementCount } from '@edgeloop/shared/tensor-data';
import { datatypes } from '@edgeloop/shared/tensors';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { elementBytes, viewOf } from '../typed-arrays.ts';
import {
  copyEntry,
  messageBytes,
  readRecord,
  recordBytes,
  type ShapedData,
  sameRows,
  viewsOfArena,
  writeRecord,
} from './records.ts';

const numeric = datatypes.filter((datatype) => datatype !== 'BYTES');

const tensor = fc
  .record({ datatype: fc.constantFrom(...numeric), shape: fc.array(fc.nat(4), { maxLength: 4 }), seed: fc.nat(255) })
  .map(({ datatype, shape, seed }) => {
    const bytes = new Uint8Array(elementCount(shape) * (elementBytes(datatype) ?? 0)).map((_, i) => seed + i);
    return { datatype, shape, data: viewOf(datatype, bytes.buffer) };
  });

const bytesOf = ({ data }: ShapedData): number[] =>
  Array.isArray(data) ? [] : [...new Uint8Array(data.buffer, data.byteOffset, data.byteLength)];

describe('records', () => {
  it('carry shapes and bytes of any tensors, scalars and empty ones among them, and nothing beyond', () => {
    fc.assert(
      fc.property(fc.array(tensor, { maxLength: 5 }), fc.nat(3), (tensors, place) => {
        const at = place * 8;
        const size = recordBytes(tensors) ?? -1;
        const arena = new SharedArrayBuffer(at + size + 8);
        const views = viewsOfArena(arena);
        writeRecord(views, at, tensors);
        const back = readRecord(views, at, tensors);
        expect(back.map(({ shape }) => shape)).toEqual(tensors.map(({ shape }) => shape));
        for (const [i, entry] of back.entries()) {
          const original = tensors[i];
          expect(entry.at % 8).toBe(0);
          expect(entry.at + entry.byteLength).toBeLessThanOrEqual(at + size);
          const copy = original && copyEntry(views, original.datatype, entry);
          expect(copy).toEqual(original?.data);
          expect([...new Uint8Array(arena, entry.at, entry.byteLength)]).toEqual(original && bytesOf(original));
        }
        expect([...new Uint8Array(arena, 0, at), ...new Uint8Array(arena, at + size)].every((byte) => byte === 0)).toBe(
          true,
        );
      }),
    );
  });

  it('are joined only when all but the first dimension agree', () => {
    const shapes = fc.array(fc.array(fc.integer({ min: 1, max: 2 }), { minLength: 1, maxLength: 3 }), {
      minLength: 1,
      maxLength: 2,
    });
    fc.assert(
      fc.property(shapes, shapes, (a, b) => {
        fc.pre(a.length === b.length);
        const arena = new SharedArrayBuffer(1024);
        const write = (at: number, dims: number[][]): void =>
          writeRecord(
            viewsOfArena(arena),
            at,
            dims.map((shape) => ({ shape, data: new Uint8Array(elementCount(shape)) })),
          );
        write(0, a);
        write(512, b);
        const tails = (dims: number[][]): string => JSON.stringify(dims.map((shape) => shape.slice(1)));
        expect(sameRows(new Int32Array(arena), 0, 512, a.length)).toBe(tails(a) === tails(b));
      }),
    );
  });

  it('do not carry strings', () => {
    expect(recordBytes([{ shape: [1], data: ['text'] }])).toBeUndefined();
  });

  it('count what goes by message: strings as UTF-8, none for nothing', () => {
    const numbers = { shape: [2], data: new Float64Array(2) };
    expect(messageBytes([numbers, { shape: [3], data: ['', 'abc', 'ü€'] }])).toBe(16 + 8 + (8 + 3) + (8 + 5));
    expect(messageBytes([numbers, numbers])).toBe(32);
    expect(recordBytes([{ shape: [1], data: ['a'] }])).toBeUndefined();
  });
});
