// Which pixels of an area belong to something, as run lengths: COCO's uncompressed form, which `pycocotools` and a few lines of
// any language read.
import { type NamedTensor, numbersOf } from '../tensor-data.ts';
import type { Box } from './detection-layout.ts';

export interface Mask {
  /** Rows and columns of the grid. */
  size: [rows: number, columns: number];
  /** Lengths of runs, column by column from top to bottom: outside, inside, outside and so on. */
  counts: number[];
}

export function maskOf(rows: number, columns: number, isInside: (row: number, column: number) => boolean): Mask {
  const counts: number[] = [];
  let [run, inside] = [0, false];
  for (let column = 0; column < columns; column++) {
    for (let row = 0; row < rows; row++) {
      if (isInside(row, column) !== inside) {
        counts.push(run);
        [run, inside] = [0, !inside];
      }
      run++;
    }
  }
  return { size: [rows, columns], counts: [...counts, run] };
}

/** Maps that are added up, each by its factor, to the mask of one box: `[1, maps, rows, columns]` over the model's input. */
export interface Prototypes {
  values: ArrayLike<number>;
  maps: number;
  rows: number;
  columns: number;
}

/** A string says why the output holds none. */
export function prototypesOf(name: string, outputs: readonly NamedTensor[]): Prototypes | string {
  const output = outputs.find((each) => each.name === name);
  const values = output && numbersOf(output);
  const [maps = 0, rows = 0, columns = 0] = output?.shape.slice(-3) ?? [];
  if (!values || maps * rows * columns === 0 || values.length !== maps * rows * columns) {
    return `its prototypes "${name}" are no [1, maps, rows, columns] of numbers`;
  }
  return { values, maps, rows, columns };
}

export interface MaskArea {
  /** In pixels of the model's input. */
  area: Box;
  size: { width: number; height: number };
  /** Of the mask over the area. */
  grid: { rows: number; columns: number };
}

/** What belongs to a box, by its factors (YOLOv8-seg, YOLACT): where the sum of the maps is above 0. */
export function prototypeMask(
  { values, maps, rows, columns }: Prototypes,
  factors: readonly number[],
  { area, size, grid }: MaskArea,
): Mask {
  const plane = rows * columns;
  const sums = new Map<number, number>();
  const sumAt = (row: number, column: number): number => {
    const at = Math.min(rows - 1, Math.max(0, row)) * columns + Math.min(columns - 1, Math.max(0, column));
    let sum = sums.get(at);
    if (sum === undefined) {
      sum = 0;
      for (let map = 0; map < maps; map++) sum += (factors[map] ?? 0) * (values[map * plane + at] ?? 0);
      sums.set(at, sum);
    }
    return sum;
  };
  const [cellWidth, cellHeight] = [(area.right - area.left) / grid.columns, (area.bottom - area.top) / grid.rows];
  return maskOf(grid.rows, grid.columns, (row, column) => {
    // Centres of cells lie half a cell inside.
    const x = ((area.left + (column + 0.5) * cellWidth) * columns) / size.width - 0.5;
    const y = ((area.top + (row + 0.5) * cellHeight) * rows) / size.height - 0.5;
    const [left, top] = [Math.floor(x), Math.floor(y)];
    const [right, down] = [x - left, y - top];
    const above = sumAt(top, left) * (1 - right) + sumAt(top, left + 1) * right;
    const below = sumAt(top + 1, left) * (1 - right) + sumAt(top + 1, left + 1) * right;
    return above * (1 - down) + below * down > 0;
  });
}
