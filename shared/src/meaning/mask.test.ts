import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NamedTensor } from '../tensor-data.ts';
import { type Mask, maskOf, prototypeMask, prototypesOf } from './mask.ts';
import { classMap } from './segmentation.ts';

/** Back to rows of 0 and 1, as people would paint it. */
function painted({ size: [rows, columns], counts }: Mask): number[][] {
  const flat = counts.flatMap((count, i) => new Array<number>(count).fill(i % 2));
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) => flat[column * rows + row] ?? 9),
  );
}

describe('masks', () => {
  it('come back as they were, from runs that begin outside', () => {
    const grid = fc
      .record({ rows: fc.integer({ min: 1, max: 9 }), columns: fc.integer({ min: 1, max: 9 }) })
      .chain(({ rows, columns }) =>
        fc.array(fc.array(fc.nat(1), { minLength: columns, maxLength: columns }), { minLength: rows, maxLength: rows }),
      );
    fc.assert(
      fc.property(grid, (cells) => {
        const mask = maskOf(cells.length, cells[0]?.length ?? 0, (row, column) => cells[row]?.[column] === 1);
        expect(painted(mask)).toEqual(cells);
        expect(mask.counts.reduce((a, b) => a + b, 0)).toBe(cells.flat().length);
      }),
    );
    // pycocotools of the same: outside 1, inside 2, outside 1.
    expect(maskOf(2, 2, (row, column) => row + column === 1)).toEqual({ size: [2, 2], counts: [1, 2, 1] });
  });

  it('are sums of prototypes, cut to the box, as fine as the grid', () => {
    const size = { width: 8, height: 8 };
    // Left half, and top half, 4 x 4 each.
    const halves = Array.from({ length: 32 }, (_, i) => (i < 16 ? (i % 4 < 2 ? 1 : -1) : (i - 16) / 4 < 2 ? 1 : -1));
    const output: NamedTensor = { name: 'p', datatype: 'FP32', shape: [1, 2, 4, 4], data: Float32Array.from(halves) };
    const prototypes = prototypesOf('p', [output]);
    if (typeof prototypes === 'string') throw new Error(prototypes);
    const whole = { left: 0, top: 0, right: 8, bottom: 8 };
    const mask = (factors: number[], area = whole, rows = 4, columns = 4) =>
      painted(prototypeMask(prototypes, factors, { area, size, grid: { rows, columns } }));
    expect(mask([1, 0])).toEqual(new Array(4).fill([1, 1, 0, 0]));
    expect(mask([0, -1])).toEqual([
      [0, 0, 0, 0],
      [0, 0, 0, 0],
      [1, 1, 1, 1],
      [1, 1, 1, 1],
    ]);
    expect(mask([1, 1])[0]).toEqual([1, 1, 0, 0]);
    expect(mask([1, 0], { left: 2, top: 0, right: 6, bottom: 4 }, 2, 4)).toEqual(new Array(2).fill([1, 1, 0, 0]));
    expect(mask([1, 0], whole, 1, 8)).toEqual([[1, 1, 1, 1, 0, 0, 0, 0]]);
    expect(prototypesOf('q', [output])).toContain('"q"');
    expect(prototypesOf('p', [{ ...output, shape: [2, 1, 4, 4] }])).toContain('no [1, maps, rows, columns]');
  });
});

describe('maps of classes', () => {
  const map = (shape: number[], data: number[], more: object = {}, labels?: number, activation?: 'sigmoid') => {
    const output: NamedTensor = { name: 'o', datatype: 'FP32', shape, data: Float32Array.from(data) };
    const read = classMap({ segmentation: { output: 'o', ...more }, labels, activation }, [output]);
    return typeof read === 'string' ? read : [...read.places];
  };

  it('take the best class of each pixel, wherever the classes stand', () => {
    const planes = [0.1, 0.9, 0.2, 0.3, 0.8, 0.05, 0.7, 0.6];
    expect(map([1, 2, 2, 2], planes)).toEqual([1, 0, 1, 1]);
    expect(map([2, 2, 2], planes)).toEqual([1, 0, 1, 1]);
    const pixels = [0.1, 0.8, 0.9, 0.05, 0.2, 0.7, 0.3, 0.6];
    expect(map([1, 2, 2, 2], pixels, { layout: 'nhwc' })).toEqual([1, 0, 1, 1]);
    expect(map([1, 3, 1, 2], [0, 0, 1, 0, 0, 1], {}, 3)).toEqual([1, 2]);
  });

  it('take one score against a threshold, and integers as they are', () => {
    expect(map([1, 1, 1, 3], [0.2, 0.5, 0.9])).toEqual([-1, 0, 0]);
    expect(map([1, 1, 3], [0.2, 0.5, 0.9], { threshold: 0.6 }, 2)).toEqual([0, 0, 1]);
    expect(map([1, 1, 1, 3], [-1, 0.1, 3], {}, 1, 'sigmoid')).toEqual([-1, 0, 0]);
    const ids: NamedTensor = { name: 'o', datatype: 'INT64', shape: [1, 1, 3], data: BigInt64Array.of(0n, 7n, 2n) };
    const read = classMap({ segmentation: { output: 'o' }, labels: 8, activation: undefined }, [ids]);
    expect(typeof read === 'string' ? read : [...read.places]).toEqual([0, 7, 2]);
  });

  it('say what does not fit', () => {
    expect(map([1, 2, 1, 1], [0, 0], {}, 3)).toContain('has 2 classes for 3 labels');
    expect(map([2, 2, 1, 1], [0, 0, 0, 0])).toContain('no map of one picture');
    expect(map([4], [0, 0, 0, 0])).toContain('no map of one picture');
  });
});
