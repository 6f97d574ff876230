// Where the outputs of a detector hold its boxes: in tensors of their own, or as the columns of one table.
import type { DetectionOutputs } from '../detection-manifest.ts';
import { type NamedTensor, numbersOf } from '../tensor-data.ts';

/** One number of each box. */
export interface Column {
  values: ArrayLike<number>;
  /** Place of the first box's number, and from one box to the next. */
  start: number;
  step: number;
}

/** Edges, in any one unit. */
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export interface DetectionLayout {
  boxes: number;
  /** In pixels of the model's input. */
  boxAt(at: number): Box;
  /** One for each class, or one alone. */
  scores: readonly Column[];
  /** What a number in them counts. */
  score(value: number): number;
  /** Multiplies the scores of a box. */
  weight?: ((at: number) => number) | undefined;
  /** Class of each box where there is one score. */
  places?: Column;
  /** Whether one box may be several classes. */
  multiLabel: boolean;
  /** Numbers behind the scores of a box: of masks, or of key points. */
  behind(at: number): number[];
}

interface Size {
  width: number;
  height: number;
}

export function numberOf({ values, start, step }: Column, box: number): number {
  return values[start + box * step] ?? Number.NaN;
}

const plain = (value: number): number => value;

/** Boxes and scores in outputs of their own. A string says why the outputs don't fit the manifest. */
export function separateLayout(
  detection: DetectionOutputs,
  outputs: readonly NamedTensor[],
  size: Size,
): DetectionLayout | string {
  const read = (name: string | undefined): ArrayLike<number> | undefined => {
    const output = outputs.find((each) => each.name === name);
    return output && numbersOf(output);
  };
  const [edges, scores, places] = [read(detection.boxes), read(detection.scores), read(detection.classes)];
  if (!edges || !scores || edges.length % 4 !== 0) return 'its boxes and scores are not tensors of numbers';
  const boxes = edges.length / 4;
  const classes = boxes === 0 ? 0 : scores.length / boxes;
  if (!Number.isInteger(classes)) return `it has ${scores.length} scores for ${boxes} boxes`;
  if (places && (places.length !== boxes || (classes !== 1 && boxes > 0)))
    return `it has ${places.length} classes for ${boxes} boxes`;
  return {
    boxes,
    boxAt: boxReader(columns(edges, 4), detection, size),
    scores: columns(scores, classes),
    score: plain,
    multiLabel: true,
    behind: () => [],
    ...(places && { places: { values: places, start: 0, step: 1 } }),
  };
}

function columns(values: ArrayLike<number>, width: number): Column[] {
  return Array.from({ length: width }, (_, start) => ({ values, start, step: width }));
}

function boxReader(
  edges: readonly Column[],
  { format = 'xyxy', normalised = true }: DetectionOutputs,
  { width, height }: Size,
): (at: number) => Box {
  const [x, y] = normalised ? [width, height] : [1, 1];
  return (at) => {
    const [a = 0, b = 0, c = 0, d = 0] = edges.map((edge) => numberOf(edge, at));
    const [left, top, right, bottom] =
      format === 'xyxy'
        ? [a, b, c, d]
        : format === 'yxyx'
          ? [b, a, d, c]
          : [a - c / 2, b - d / 2, a + c / 2, b + d / 2];
    return { left: left * x, top: top * y, right: right * x, bottom: bottom * y };
  };
}

/** Everything in one output. `widths`: how many classes the manifest names, and how many numbers stand behind them. */
export function tableLayout(
  detection: DetectionOutputs,
  outputs: readonly NamedTensor[],
  size: Size,
  widths: { labels: number | undefined; behind: number },
): DetectionLayout | string {
  const output = outputs.find(({ name }) => name === detection.table);
  const values = output && numbersOf(output);
  if (!values) return `its output "${detection.table}" is not a tensor of numbers`;
  const shape = tableShape(output.shape, detection, widths);
  if (typeof shape === 'string') return shape;
  const { boxes, width, upright } = shape;
  const column = (place: number): Column =>
    upright ? { values, start: place, step: width } : { values, start: place * boxes, step: 1 };
  const scored = width - widths.behind;
  const [first = column(4), ...rest] = Array.from({ length: scored - 4 }, (_, i) => column(4 + i));
  const behind = Array.from({ length: widths.behind }, (_, i) => column(scored + i));
  const common = {
    boxes,
    boxAt: boxReader([0, 1, 2, 3].map(column), detection, size),
    score: plain,
    multiLabel: true,
    behind: (at: number) => behind.map((each) => numberOf(each, at)),
  };
  switch (detection.columns ?? 'scores') {
    case 'class':
      return { ...common, scores: [first], places: column(5) };
    case 'objectness':
      return { ...common, weight: (at) => numberOf(first, at), scores: rest };
    case 'scores':
      return { ...common, scores: [first, ...rest] };
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
  { columns = 'scores' }: Pick<DetectionOutputs, 'columns'>,
  { labels, behind }: { labels: number | undefined; behind: number },
): TableShape | string {
  const [height = 0, across = 0] = shape.slice(-2);
  if (shape.length < 2 || shape.slice(0, -2).some((dim) => dim !== 1)) {
    return `its table [${shape}] is not one of boxes and their numbers`;
  }
  const before = columns === 'scores' ? 4 : 5;
  const wanted = columns === 'class' ? 6 + behind : labels && before + labels + behind;
  const least = before + 1 + behind;
  const width = wanted ?? Math.min(height, across);
  if (width < least) return `its table [${shape}] has ${width} numbers a box; "columns": "${columns}" needs ${least}`;
  if (across === width) return { boxes: height, width, upright: true };
  if (height === width) return { boxes: across, width, upright: false };
  const more = behind === 0 ? '' : ` and ${behind} numbers behind the scores`;
  return `its table [${shape}] has no dimension of ${width}, the numbers of a box for ${labels} labels${more}`;
}
