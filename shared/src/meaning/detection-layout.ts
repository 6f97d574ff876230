// Where the outputs of a detector hold its boxes: in tensors of their own, or as the columns of one table.
import type { DetectionOutputs } from '../manifest.ts';
import { type NamedTensor, numbersOf } from '../tensor-data.ts';

/** One number of each box. */
interface Column {
  values: ArrayLike<number>;
  /** Place of the first box's number, and from one box to the next. */
  start: number;
  step: number;
}

export interface DetectionLayout {
  boxes: number;
  /** The four numbers of the box. */
  edges: readonly Column[];
  /** One for each class, or one alone. */
  scores: readonly Column[];
  /** Multiplies the scores. */
  objectness?: Column;
  /** Class of each box where there is one score. */
  places?: Column;
}

export function numberOf({ values, start, step }: Column, box: number): number {
  return values[start + box * step] ?? Number.NaN;
}

/** `labels`: how many classes the manifest names. A string says why the outputs don't fit the manifest. */
export function layoutOf(
  detection: DetectionOutputs,
  outputs: readonly NamedTensor[],
  labels: number | undefined,
): DetectionLayout | string {
  return detection.table === undefined ? separate(detection, outputs) : tabular(detection, outputs, labels);
}

function separate(detection: DetectionOutputs, outputs: readonly NamedTensor[]): DetectionLayout | string {
  const read = (name: string | undefined): ArrayLike<number> | undefined => {
    const output = outputs.find((each) => each.name === name);
    return output && numbersOf(output);
  };
  const [edges, scores, places] = [read(detection.boxes), read(detection.scores), read(detection.classes)];
  if (!edges || !scores || edges.length % 4 !== 0) return 'its boxes and scores are not tensors of numbers';
  const boxes = edges.length / 4;
  if (boxes === 0) return { boxes, edges: [], scores: [] };
  const classes = scores.length / boxes;
  if (!Number.isInteger(classes)) return `it has ${scores.length} scores for ${boxes} boxes`;
  if (places && (classes !== 1 || places.length !== boxes)) return `it has ${places.length} classes for ${boxes} boxes`;
  return {
    boxes,
    edges: columns(edges, 4),
    scores: columns(scores, classes),
    ...(places && { places: { values: places, start: 0, step: 1 } }),
  };
}

function columns(values: ArrayLike<number>, width: number): Column[] {
  return Array.from({ length: width }, (_, start) => ({ values, start, step: width }));
}

function tabular(
  detection: DetectionOutputs,
  outputs: readonly NamedTensor[],
  labels: number | undefined,
): DetectionLayout | string {
  const output = outputs.find(({ name }) => name === detection.table);
  const values = output && numbersOf(output);
  if (!values) return `its output "${detection.table}" is not a tensor of numbers`;
  const shape = tableShape(output.shape, detection, labels);
  if (typeof shape === 'string') return shape;
  const { boxes, width, upright } = shape;
  const column = (place: number): Column =>
    upright ? { values, start: place, step: width } : { values, start: place * boxes, step: 1 };
  const [first = 4, ...rest] = Array.from({ length: width - 4 }, (_, i) => 4 + i);
  const edges = [0, 1, 2, 3].map(column);
  switch (detection.columns) {
    case 'class':
      return { boxes, edges, scores: [column(first)], places: column(5) };
    case 'objectness':
      return { boxes, edges, objectness: column(first), scores: rest.map(column) };
    case 'scores':
      return { boxes, edges, scores: [first, ...rest].map(column) };
  }
}

interface TableShape {
  boxes: number;
  /** Numbers of one box. */
  width: number;
  /** Boxes are rows. */
  upright: boolean;
}

/** How a table of this shape is to be read; dimensions must be known. A string says why it can't. */
export function tableShape(
  shape: readonly number[],
  { columns }: Pick<DetectionOutputs, 'columns'>,
  labels: number | undefined,
): TableShape | string {
  const [height = 0, across = 0] = shape.slice(-2);
  if (shape.length < 2 || shape.slice(0, -2).some((dim) => dim !== 1)) {
    return `its table [${shape}] is not one of boxes and their numbers`;
  }
  const wanted = columns === 'class' ? 6 : labels && 4 + (columns === 'objectness' ? 1 : 0) + labels;
  const least = columns === 'scores' ? 5 : 6;
  const width = wanted ?? Math.min(height, across);
  if (width < least) return `its table [${shape}] has ${width} numbers a box; "columns": "${columns}" needs ${least}`;
  if (across === width) return { boxes: height, width, upright: true };
  if (height === width) return { boxes: across, width, upright: false };
  return `its table [${shape}] has no dimension of ${width}, the numbers of a box for ${labels} labels`;
}
