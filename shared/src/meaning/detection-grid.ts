// The cells that a detector's last numbers stand for: grids over the model's input, and where a tensor holds each cell.
import type { DetectionHead } from '../detection-manifest.ts';
import { elementCount, type NamedTensor, numbersOf } from '../tensor-data.ts';

export interface Size {
  width: number;
  height: number;
}

/** One grid over the model's input. */
export interface Level extends Size {
  stride: number;
  /** Width and height of each; one of nothing where the head has none. */
  anchors: readonly (readonly [number, number])[];
}

const cocoAnchors = [
  [10, 13, 16, 30, 33, 23],
  [30, 61, 62, 45, 59, 119],
  [116, 90, 156, 198, 373, 326],
];

/** A string says why there are none. */
export function levelsOf(head: DetectionHead, { width, height }: Size): Level[] | string {
  const usual = {
    nanodet: [8, 16, 32, 64],
    fastestdet: [16],
    yolox: [8, 16, 32],
    yolov5: [8, 16, 32],
    yolov8: [8, 16, 32],
  };
  const strides = head.strides ?? usual[head.kind];
  const anchors = head.kind === 'yolov5' ? (head.anchors ?? cocoAnchors) : undefined;
  if (anchors && anchors.length !== strides.length)
    return `${anchors.length} lists of anchors for ${strides.length} strides`;
  if (anchors?.some(({ length }) => length % 2 !== 0)) return 'anchors are widths and heights in turn';
  return strides.map((stride, at) => ({
    stride,
    width: Math.ceil(width / stride),
    height: Math.ceil(height / stride),
    anchors: anchors ? pairs(anchors[at] ?? []) : [[0, 0]],
  }));
}

function pairs(numbers: readonly number[]): [number, number][] {
  return Array.from({ length: numbers.length / 2 }, (_, i) => [numbers[i * 2] ?? 0, numbers[i * 2 + 1] ?? 0]);
}

function cellsIn({ width, height, anchors }: Level): number {
  return width * height * anchors.length;
}

/** Where in a tensor the numbers of a cell stand: the first of the cell's, and from one to the next. */
interface Places {
  base(cell: number): number;
  step: number;
}

/** `width`: numbers of a cell. Cells count by anchor, then row by row. Undefined for another shape. */
function placesIn(shape: readonly number[], level: Level, width: number): Places | undefined {
  const inner = shape.length > 2 && shape[0] === 1 ? shape.slice(1) : shape;
  const is = (...dims: number[]): boolean => dims.length === inner.length && dims.every((dim, i) => dim === inner[i]);
  const [cells, across, down, each] = [cellsIn(level), level.width, level.height, level.anchors.length];
  const plane = across * down;
  const byPlane = (cell: number): number => Math.floor(cell / plane) * width * plane + (cell % plane);
  const byPixel = (cell: number): number => ((cell % plane) * each + Math.floor(cell / plane)) * width;
  if (is(cells, width) || is(each, down, across, width)) return { base: (cell) => cell * width, step: 1 };
  if (is(width, cells)) return { base: (cell) => cell, step: cells };
  if (is(each * width, down, across) || is(each, width, down, across)) return { base: byPlane, step: plane };
  if (is(down, across, each * width) || is(down, across, each, width)) return { base: byPixel, step: 1 };
  return undefined;
}

/**
 * Tensors of one row a cell, of all levels, or why they are none. Each level has one, or as many as each other one: the numbers of
 * a cell then stand in them one behind the other.
 */
export function rowsOf(
  levels: readonly Level[],
  tensors: readonly NamedTensor[],
): { values: Float32Array; width: number } | string {
  const cells = levels.reduce((sum, level) => sum + cellsIn(level), 0);
  const isByLevel = tensors.length > 0 && tensors.length % levels.length === 0;
  // A table has the cells of all levels one below the other.
  const sources: readonly Level[] = isByLevel ? levels : [{ stride: 0, width: cells, height: 1, anchors: [[0, 0]] }];
  const total = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const width = total / cells;
  if (!Number.isInteger(width)) return `has ${cells} cells, which ${told(tensors)} can't be divided into`;
  const [lone] = tensors;
  // Most tables are so already, and copying millions of numbers takes longer than all else.
  const isTable = sources.length === 1 && lone?.shape.at(-1) === width && lone.shape.at(-2) === cells;
  if (isTable && lone.data instanceof Float32Array) return { values: lone.data, width };
  const values = new Float32Array(total);
  let row = 0;
  const parts = tensors.length / sources.length;
  for (const [at, level] of sources.entries()) {
    let filled = 0;
    for (const tensor of tensors.slice(at * parts, (at + 1) * parts)) {
      const own = elementCount(tensor.shape) / cellsIn(level);
      const from = numbersOf(tensor);
      const places = placesIn(tensor.shape, level, own);
      if (!from || !places || filled + own > width) return unfit(level, width, tensors);
      for (let cell = 0; cell < cellsIn(level); cell++) {
        const base = places.base(cell);
        const first = (row + cell) * width + filled;
        for (let i = 0; i < own; i++) values[first + i] = from[base + i * places.step] ?? Number.NaN;
      }
      filled += own;
    }
    if (filled !== width) return unfit(level, width, tensors);
    row += cellsIn(level);
  }
  return { values, width };
}

function unfit(level: Level, width: number, tensors: readonly NamedTensor[]): string {
  return `has ${cellsIn(level)} cells of ${width} numbers, which ${told(tensors)} does not hold`;
}

function told(tensors: readonly NamedTensor[]): string {
  return tensors.map(({ name, shape }) => `"${name}" [${shape}]`).join(', ');
}

/** Where a cell lies: what its box is reckoned from. */
export interface Place {
  x: number;
  y: number;
  stride: number;
  /** Cells of its grid. */
  across: number;
  down: number;
  anchorWidth: number;
  anchorHeight: number;
}

export function gridOf(levels: readonly Level[]): (cell: number) => Place {
  return (cell) => {
    let rest = cell;
    for (const level of levels) {
      const plane = level.width * level.height;
      const [anchorWidth, anchorHeight] = level.anchors[Math.floor(rest / plane)] ?? [0, 0];
      const { stride, width: across, height: down } = level;
      if (rest < cellsIn(level)) {
        const at = rest % plane;
        return { x: at % across, y: Math.floor(at / across), stride, across, down, anchorWidth, anchorHeight };
      }
      rest -= cellsIn(level);
    }
    throw new RangeError(`no cell ${cell}`);
  };
}
