// Which class each pixel is, out of an output that has a score for each class and pixel, or the class itself.
import type { SegmentationOutputs } from '../detection-manifest.ts';
import { type NamedTensor, numbersOf } from '../tensor-data.ts';

export interface ClassMap {
  rows: number;
  columns: number;
  /** Place of the class of each pixel, row by row; -1 for none. */
  places: Int32Array;
}

export interface Segmenter {
  segmentation: SegmentationOutputs;
  labels: number | undefined;
  activation: 'sigmoid' | 'softmax' | undefined;
}

interface MapShape {
  classes: number;
  rows: number;
  columns: number;
}

/** How such a shape is to be read; dimensions must be known. A string says why it can't. */
export function mapShape(
  shape: readonly number[],
  { segmentation: { layout, output }, labels }: Omit<Segmenter, 'activation'>,
): MapShape | string {
  const dims = shape[0] === 1 && shape.length > 2 ? shape.slice(1) : shape;
  if (dims.length < 2 || dims.length > 3) return `its output "${output}" [${shape}] is no map of one picture`;
  const [first = 0, second = 0, third = 1] = dims;
  if (dims.length === 2) return { classes: 1, rows: first, columns: second };
  const [classes, rows, columns] = layout === 'nhwc' ? [third, first, second] : [first, second, third];
  if (classes === 1 || labels === undefined || labels === classes) return { classes, rows, columns };
  return `its output "${output}" [${shape}] has ${classes} classes for ${labels} labels; see "layout"`;
}

/** A string says why the output does not fit the manifest. */
export function classMap(segmenter: Segmenter, outputs: readonly NamedTensor[]): ClassMap | string {
  const { output: name, layout, threshold = 0.5 } = segmenter.segmentation;
  const output = outputs.find((each) => each.name === name);
  const values = output && numbersOf(output);
  if (!output || !values) return `its output "${name}" is not a tensor of numbers`;
  const shape = mapShape(output.shape, segmenter);
  if (typeof shape === 'string') return shape;
  const { classes, rows, columns } = shape;
  const pixels = rows * columns;
  const places = new Int32Array(pixels).fill(-1);
  if (classes === 1 && !output.datatype.startsWith('FP')) {
    for (let at = 0; at < pixels; at++) places[at] = values[at] ?? -1;
  } else if (classes === 1) {
    // Of two labels, the first one is what is not there.
    const place = segmenter.labels === 2 ? 1 : 0;
    const least = segmenter.activation === 'sigmoid' ? Math.log(threshold / (1 - threshold)) : threshold;
    for (let at = 0; at < pixels; at++) places[at] = (values[at] ?? Number.NaN) >= least ? place : place - 1;
  } else {
    const [between, from] = layout === 'nhwc' ? [classes, 1] : [1, pixels];
    best(values, { pixels, classes, between, from }, places);
  }
  return { rows, columns, places };
}

/** `between` pixels, and `from` one class to the next. */
function best(
  values: ArrayLike<number>,
  { pixels, classes, between, from }: { pixels: number; classes: number; between: number; from: number },
  places: Int32Array,
): void {
  const highest = new Float64Array(pixels).fill(Number.NEGATIVE_INFINITY);
  for (let place = 0; place < classes; place++) {
    for (let at = 0; at < pixels; at++) {
      const value = values[at * between + place * from] ?? Number.NaN;
      if (!(value > (highest[at] ?? 0))) continue;
      highest[at] = value;
      places[at] = place;
    }
  }
}
