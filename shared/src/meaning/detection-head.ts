// Detectors whose export ends before their last arithmetic: boxes out of cells of grids. After the programs that come with
// the models: YOLOX (`demo_postprocess`), YOLOv5 and v7 (`Detect`), NanoDet and NanoDet-Plus (`distance2bbox` and the integral
// of the distribution focal loss), Ultralytics (`DFL`), FastestDet (`handle_preds`).
import type { DetectionHead } from '../detection-manifest.ts';
import { elementCount, type NamedTensor } from '../tensor-data.ts';
import { gridOf, levelsOf, type Place, rowsOf, type Size } from './detection-grid.ts';
import { type Column, type DetectionLayout, numberOf } from './detection-layout.ts';

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
  /** One of the two coordinates of a key point, in pixels of the model's input. */
  coordinate?(value: number, place: number, stride: number): number;
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
        coordinate: (value, place, stride) => (value * 2 + place) * stride,
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

export interface HeadWidths {
  /** How many classes the manifest names. */
  labels: number | undefined;
  /** Numbers of a cell behind all that its box and its scores are made of. */
  behind: number;
  /** Those of one key point, where they are key points. */
  point: number | undefined;
}

/** A string says why the outputs are none of this head. */
export function headLayout(
  head: DetectionHead,
  tensors: readonly NamedTensor[],
  size: Size,
  { labels, behind, point }: HeadWidths,
): DetectionLayout | string {
  const levels = levelsOf(head, size);
  if (typeof levels === 'string') return `its head: ${levels}`;
  const rows = rowsOf(levels, tensors);
  const rule = ruleOf(head);
  if (typeof rows === 'string') return `its head "${head.kind}" for ${size.width} x ${size.height} ${rows}`;
  const { values, width } = rows;
  const classes = width - rule.before - rule.behind - behind;
  if (classes < 1 || (labels !== undefined && labels !== classes)) {
    return `its head "${head.kind}" has ${width} numbers a cell, of which ${Math.max(0, classes)} are scores for ${labels ?? 'no'} labels${behind === 0 ? '' : ` and ${behind} numbers behind them`}`;
  }
  const column = (start: number): Column => ({ values, start, step: width });
  const { objectness } = rule;
  const objects = objectness && column(objectness.place);
  const grid = gridOf(levels);
  const numberAt = (at: number, place: number): number => values[at * width + place] ?? Number.NaN;
  return {
    boxes: values.length / width,
    boxAt(at) {
      const number = (place: number): number => numberAt(at, place);
      const [left, top, right, bottom] = rule.box({ number, classes, ...grid(at) });
      return { left, top, right, bottom };
    },
    scores: Array.from({ length: classes }, (_, i) => column(rule.before + i)),
    weight: objects && ((at) => objectness.weight(numberOf(objects, at))),
    score: rule.score,
    multiLabel: rule.multiLabel,
    behind(at) {
      const numbers = Array.from({ length: behind }, (_, i) => numberAt(at, width - behind + i));
      const { coordinate } = rule;
      if (point === undefined || coordinate === undefined) return numbers;
      const { x, y, stride } = grid(at);
      return numbers.map((value, i) =>
        i % point === 2 ? sigmoid(value) : coordinate(value, i % point === 0 ? x : y, stride),
      );
    },
  };
}

/** How many cells the head has, for a table whose shape is known. A string says why the shape is none of this head. */
export function checkHead(
  head: DetectionHead,
  shapes: readonly { name: string; shape: readonly number[] }[],
  size: Size,
  widths: HeadWidths,
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
  const layout = headLayout(head, tensors, size, widths);
  return typeof layout === 'string' ? layout : undefined;
}
