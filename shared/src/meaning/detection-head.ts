// Detectors whose export ends before their last arithmetic: boxes out of cells of grids. After the programs that come with
// the models: YOLOX (`demo_postprocess`), YOLOv5 and v7 (`Detect`), NanoDet and NanoDet-Plus (`distance2bbox` and the integral
// of the distribution focal loss), Ultralytics (`DFL`), FastestDet (`handle_preds`).
import type { DetectionHead } from '../detection-manifest.ts';
import { elementCount, type NamedTensor, numbersOf } from '../tensor-data.ts';
import { type Column, type DetectionLayout, numberOf } from './detection-layout.ts';

interface Size {
  width: number;
  height: number;
}

/** One grid over the model's input. */
interface Level extends Size {
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
function levelsOf(head: DetectionHead, { width, height }: Size): Level[] | string {
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

/** Tensors of one row a cell, of all levels, or why they are none. */
function rowsOf(
  levels: readonly Level[],
  tensors: readonly NamedTensor[],
): { values: Float32Array; width: number } | string {
  const cells = levels.reduce((sum, level) => sum + cellsIn(level), 0);
  // A table has the cells of all levels one below the other.
  const sources: readonly Level[] =
    tensors.length === levels.length ? levels : [{ stride: 0, width: cells, height: 1, anchors: [[0, 0]] }];
  const total = tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const width = total / cells;
  if (!Number.isInteger(width)) return `has ${cells} cells, which ${told(tensors)} can't be divided into`;
  const [lone] = tensors;
  // Most tables are so already, and copying millions of numbers takes longer than all else.
  const isTable = sources.length === 1 && lone?.shape.at(-1) === width && lone.shape.at(-2) === cells;
  if (isTable && lone.data instanceof Float32Array) return { values: lone.data, width };
  const values = new Float32Array(total);
  let row = 0;
  for (const [at, level] of sources.entries()) {
    const tensor = tensors[at];
    const from = tensor && numbersOf(tensor);
    const places = tensor && placesIn(tensor.shape, level, width);
    if (!from || !places)
      return `has ${cellsIn(level)} cells of ${width} numbers, which ${told(tensors)} does not hold`;
    for (let cell = 0; cell < cellsIn(level); cell++, row++) {
      const base = places.base(cell);
      for (let i = 0; i < width; i++) values[row * width + i] = from[base + i * places.step] ?? Number.NaN;
    }
  }
  return { values, width };
}

function told(tensors: readonly NamedTensor[]): string {
  return tensors.map(({ name, shape }) => `"${name}" [${shape}]`).join(', ');
}

/** Where a cell lies: what its box is reckoned from. */
interface Place {
  x: number;
  y: number;
  stride: number;
  /** Cells of its grid. */
  across: number;
  down: number;
  anchorWidth: number;
  anchorHeight: number;
}

function gridOf(levels: readonly Level[]): (cell: number) => Place {
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

/** What a box is reckoned from. */
interface Cell extends Place {
  /** One of the numbers of its row. */
  number(place: number): number;
  /** How many classes have a score. */
  classes: number;
}

type Edges = [left: number, top: number, right: number, bottom: number];

interface HeadRule {
  /** Numbers before the scores of classes, and behind them. */
  before: number;
  behind: number;
  /** Place of the score of any object, and what it counts. */
  objectness?: { place: number; weight(value: number): number };
  /** What a number counts as a score. */
  score(value: number): number;
  /** In pixels of the model's input. */
  box(cell: Cell): Edges;
  /** Whether the program that came with it takes one box for several classes. */
  multiLabel: boolean;
}

function sigmoid(value: number): number {
  return 1 / (1 + Math.exp(-value));
}

function around(x: number, y: number, width: number, height: number): Edges {
  return [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
}

const plain = (value: number): number => value;

function ruleOf(head: DetectionHead): HeadRule {
  switch (head.kind) {
    case 'yolox':
      return {
        before: 5,
        behind: 0,
        objectness: { place: 4, weight: plain },
        score: plain,
        multiLabel: false,
        box: ({ number, x, y, stride }) =>
          around(
            (number(0) + x) * stride,
            (number(1) + y) * stride,
            Math.exp(number(2)) * stride,
            Math.exp(number(3)) * stride,
          ),
      };
    case 'yolov5':
      return {
        before: 5,
        behind: 0,
        objectness: { place: 4, weight: sigmoid },
        score: sigmoid,
        multiLabel: false,
        box: ({ number, x, y, stride, anchorWidth, anchorHeight }) =>
          around(
            (sigmoid(number(0)) * 2 - 0.5 + x) * stride,
            (sigmoid(number(1)) * 2 - 0.5 + y) * stride,
            (sigmoid(number(2)) * 2) ** 2 * anchorWidth,
            (sigmoid(number(3)) * 2) ** 2 * anchorHeight,
          ),
      };
    case 'fastestdet':
      return {
        before: 5,
        behind: 0,
        objectness: { place: 0, weight: (value) => value ** 0.6 },
        score: (value) => value ** 0.4,
        multiLabel: false,
        box: fastestBox,
      };
    case 'nanodet': {
      const [bins, offset] = [head.bins ?? 8, head.offset ?? 0];
      return {
        before: 0,
        behind: 4 * bins,
        score: plain,
        multiLabel: true,
        box: (cell) => byDistances(cell, { first: cell.classes, bins, offset }),
      };
    }
    case 'yolov8': {
      const bins = head.bins ?? 16;
      return {
        before: 4 * bins,
        behind: 0,
        score: sigmoid,
        multiLabel: false,
        box: (cell) => byDistances(cell, { first: 0, bins, offset: 0.5 }),
      };
    }
  }
}

function fastestBox({ number, x, y, stride, across, down }: Cell): Edges {
  return around(
    (Math.tanh(number(1)) + x) * stride,
    (Math.tanh(number(2)) + y) * stride,
    sigmoid(number(3)) * across * stride,
    sigmoid(number(4)) * down * stride,
  );
}

/** Distances of the four edges from a point, each the mean of a distribution over `bins` whole strides. */
function byDistances(
  { number, x, y, stride }: Cell,
  { first, bins, offset }: { first: number; bins: number; offset: number },
): Edges {
  const distance = (side: number): number => {
    let [sum, weighted] = [0, 0];
    let highest = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < bins; i++) highest = Math.max(highest, number(first + side * bins + i));
    for (let i = 0; i < bins; i++) {
      const share = Math.exp(number(first + side * bins + i) - highest);
      sum += share;
      weighted += share * i;
    }
    return (weighted / sum) * stride;
  };
  const [centreX, centreY] = [(x + offset) * stride, (y + offset) * stride];
  return [centreX - distance(0), centreY - distance(1), centreX + distance(2), centreY + distance(3)];
}

/** `labels`: how many classes the manifest names. A string says why the outputs are none of this head. */
export function headLayout(
  head: DetectionHead,
  tensors: readonly NamedTensor[],
  size: Size,
  labels: number | undefined,
): DetectionLayout | string {
  const levels = levelsOf(head, size);
  if (typeof levels === 'string') return `its head: ${levels}`;
  const rows = rowsOf(levels, tensors);
  const rule = ruleOf(head);
  if (typeof rows === 'string') return `its head "${head.kind}" for ${size.width} x ${size.height} ${rows}`;
  const { values, width } = rows;
  const classes = width - rule.before - rule.behind;
  if (classes < 1 || (labels !== undefined && labels !== classes)) {
    return `its head "${head.kind}" has ${width} numbers a cell, of which ${Math.max(0, classes)} are scores for ${labels ?? 'no'} labels`;
  }
  const column = (start: number): Column => ({ values, start, step: width });
  const { objectness } = rule;
  const objects = objectness && column(objectness.place);
  const grid = gridOf(levels);
  return {
    boxes: values.length / width,
    boxAt(at) {
      const number = (place: number): number => values[at * width + place] ?? Number.NaN;
      const [left, top, right, bottom] = rule.box({ number, classes, ...grid(at) });
      return { left, top, right, bottom };
    },
    scores: Array.from({ length: classes }, (_, i) => column(rule.before + i)),
    weight: objects && ((at) => objectness.weight(numberOf(objects, at))),
    score: rule.score,
    multiLabel: rule.multiLabel,
    behind: [],
  };
}

/** How many cells the head has, for a table whose shape is known. A string says why the shape is none of this head. */
export function checkHead(
  head: DetectionHead,
  shapes: readonly { name: string; shape: readonly number[] }[],
  size: Size,
  labels: number | undefined,
): string | undefined {
  const levels = levelsOf(head, size);
  if (typeof levels === 'string') return levels;
  if (shapes.some(({ shape }) => shape.length === 0 || shape.includes(-1))) return undefined;
  const tensors = shapes.map(
    ({ name, shape }): NamedTensor => ({
      name,
      shape,
      datatype: 'FP32',
      data: new Float32Array(elementCount(shape)),
    }),
  );
  const layout = headLayout(head, tensors, size, labels);
  return typeof layout === 'string' ? layout : undefined;
}
