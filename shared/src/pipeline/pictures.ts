// Operations on pictures: what a model takes of one, and what lies in boxes.
import type { ImageInput } from '../image-manifest.ts';
import { channelsOf } from '../meaning/media-inputs.ts';
import { type Area, type Placement, placementOf, type Size } from '../meaning/picture-placement.ts';
import type { OperationStep } from '../pipeline-manifest.ts';
import { elementCount, type Tensor } from '../tensor-data.ts';
import { type Fitting, misfit, numeric, type Operation, type TensorFacts } from './operation.ts';
import { type Pixels, resampled } from './resampling.ts';
import { floats, valuesOf } from './tensor-parts.ts';

type PictureStep = OperationStep<'picture'>;
type CropStep = OperationStep<'crop'>;
type Making = Pick<PictureStep, 'image' | 'datatype'>;

/** Values of all crops of a request. */
const cropsAtMost = 64 * 1024 * 1024;

export function picture(step: PictureStep, fitting: Fitting): Operation {
  const { input, output, placement, from = 'nhwc' } = step;
  checkSource(fitting, { field: 'input', tensor: input, from });
  checkMaking(step, fitting);
  const outputs = new Map<string, TensorFacts>([[output, { datatype: step.datatype, shape: shapeOf(1, step.image) }]]);
  if (placement !== undefined) outputs.set(placement, { datatype: 'FP32', shape: [placementNumbers] });
  return {
    outputs,
    keepsRows: false,
    run(read) {
      const pixels = pixelsOf(read(input), from);
      const whole = { left: 0, top: 0, width: pixels.width, height: pixels.height };
      const made = { datatype: step.datatype, shape: shapeOf(1, step.image), data: emptyPixels(step, 1) };
      const placed = fill(made.data, 0, { pixels, area: whole, making: step });
      const tensors = new Map<string, Tensor>([[output, made]]);
      if (placement !== undefined) tensors.set(placement, encodePlacement(placed, step.image));
      return { tensors };
    },
  };
}

export function crop(step: CropStep, fitting: Fitting): Operation {
  const { picture: source, boxes, output, from = 'nhwc', image, datatype } = step;
  checkSource(fitting, { field: 'picture', tensor: source, from });
  checkMaking(step, fitting);
  const given = numeric(fitting, 'boxes', boxes);
  if (given.shape.length !== 2 || ![4, -1].includes(given.shape[1] ?? 0))
    throw fitting.wrong('boxes', `"${boxes}" [${given.shape}] must be [boxes, 4]`);
  const most = given.most ?? (given.shape[0] === -1 ? undefined : given.shape[0]);
  if (most === undefined)
    throw fitting.wrong('boxes', `nothing says how many boxes "${boxes}" may hold; let "detect" or "filter" make them`);
  const values = elementCount(shapeOf(most, image));
  if (values > cropsAtMost)
    throw fitting.wrong(
      'image',
      `${most} boxes would be ${values} values, and ${cropsAtMost} are allowed; ask for fewer boxes, or smaller crops`,
    );
  return {
    outputs: new Map([[output, { datatype, shape: shapeOf(-1, image), most }]]),
    keepsRows: false,
    run(read) {
      const pixels = pixelsOf(read(source), from);
      const { shape, ...edges } = read(boxes);
      if (shape.length !== 2 || shape[1] !== 4) throw misfit(`"${boxes}" [${shape}] is not [boxes, 4]`);
      const numbers = valuesOf({ shape, ...edges });
      const [count = 0] = shape;
      const data = emptyPixels(step, count);
      for (let box = 0; box < count; box++) {
        const area = areaOf(
          Array.from({ length: 4 }, (_, i) => numbers[box * 4 + i] ?? 0),
          step,
          pixels,
        );
        fill(data, box, { pixels, area, making: step });
      }
      return { tensors: new Map([[output, { datatype, shape: shapeOf(count, image), data }]]) };
    },
  };
}

/** With its margin, and as far as it lies in the picture; a pixel at least. */
function areaOf(edges: readonly number[], { margin, square }: CropStep, picture: Size): Area {
  const [left = 0, top = 0, right = 0, bottom = 0] = edges.map((edge) => (Number.isFinite(edge) ? edge : 0));
  const [width, height] = [(right - left) * (1 + 2 * margin), (bottom - top) * (1 + 2 * margin)];
  const longer = Math.max(width, height);
  const [across, down] = square === true ? [longer, longer] : [width, height];
  const x = within((left + right) / 2, across, picture.width);
  const y = within((top + bottom) / 2, down, picture.height);
  return { left: x.start, width: x.length, top: y.start, height: y.length };
}

function within(centre: number, length: number, whole: number): { start: number; length: number } {
  const clamp = (at: number, most: number): number => Math.min(most, Math.max(0, at));
  const start = clamp(centre - length / 2, whole - 1);
  return { start, length: Math.max(1, clamp(centre + length / 2, whole) - start) };
}

function shapeOf(count: number, image: ImageInput): number[] {
  const { width, height, layout } = image;
  const channels = channelsOf(image);
  return layout === 'nchw' ? [count, channels, height, width] : [count, height, width, channels];
}

function checkSource(
  fitting: Fitting,
  { field, tensor, from }: { field: string; tensor: string; from: 'nhwc' | 'nchw' },
): void {
  const { shape } = numeric(fitting, field, tensor);
  const channels = from === 'nhwc' ? shape.at(-1) : shape.at(-3);
  const isOne = shape.length === 3 || (shape.length === 4 && (shape[0] === 1 || shape[0] === -1));
  if (shape.length !== 0 && (!isOne || ![1, 3, -1].includes(channels ?? 0)))
    throw fitting.wrong(field, `"${tensor}" [${shape}] is not one picture in the order "${from}"; see "from"`);
}

function checkMaking({ image, datatype }: Making, fitting: Fitting): void {
  const { mean, std, scale, padColor, padAt, crop: how } = image;
  const channels = channelsOf(image);
  for (const [name, { length }] of Object.entries({ mean, std }))
    if (length > 1 && length !== channels)
      throw fitting.wrong(`image.${name}`, `${length} values for ${channels} channels`);
  if (datatype === 'UINT8' && (scale !== 1 || mean.length > 0 || std.length > 0))
    throw fitting.wrong('datatype', 'UINT8 keeps the pixels as they are: leave out scale, mean and std');
  if ((padColor !== undefined || padAt !== undefined) && how !== 'pad')
    throw fitting.wrong('image', 'padColor and padAt are for "crop": "pad"');
  if (how === 'inside') throw fitting.wrong('image.crop', '"inside" is for pictures of any size, and models take one');
  for (const name of ['colorProfile', 'orientation'] as const)
    if (image[name] !== undefined) throw fitting.wrong(`image.${name}`, 'is for files of pictures, not for tensors');
}

function pixelsOf(tensor: Tensor, from: 'nhwc' | 'nchw'): Pixels {
  const { shape } = tensor;
  const [a = 0, b = 0, c = 0] = shape.slice(-3);
  const [height, width, channels] = from === 'nhwc' ? [a, b, c] : [b, c, a];
  const isOne = shape.length === 3 || (shape.length === 4 && shape[0] === 1);
  if (!isOne || (channels !== 1 && channels !== 3) || width === 0 || height === 0)
    throw misfit(`[${shape}] is not one picture in the order "${from}"`);
  const step =
    from === 'nhwc' ? { x: channels, y: width * channels, channel: 1 } : { x: 1, y: width, channel: width * height };
  return { values: valuesOf(tensor), width, height, channels, step };
}

function emptyPixels({ image, datatype }: Making, count: number): Float32Array | Uint8Array {
  const length = elementCount(shapeOf(count, image));
  return datatype === 'UINT8' ? new Uint8Array(length) : new Float32Array(length);
}

interface Filling {
  pixels: Pixels;
  area: Area;
  making: Making;
}

/** Writes picture number `at`; where it lies. */
function fill(data: Float32Array | Uint8Array, at: number, { pixels, area, making }: Filling): Placement {
  const { image } = making;
  const { width, height, layout, color } = image;
  const placement = placementOf({ width: area.width, height: area.height }, image);
  const { target } = placement;
  const source = { ...placement.source, left: area.left + placement.source.left, top: area.top + placement.source.top };
  const seen = resampled(pixels, source, target);
  const channels = channelsOf(image);
  const convert = converterOf(making);
  const start = at * width * height * channels;
  const [step, plane] = layout === 'nchw' ? [1, width * height] : [channels, 1];
  const pad = typeof image.padColor === 'object' ? image.padColor : [image.padColor ?? 0];
  for (let channel = 0; channel < channels; channel++) {
    const from = color === 'bgr' ? 2 - channel : channel;
    const margin = convert(pad[pad.length === 1 ? 0 : from] ?? 0, channel);
    for (let pixel = 0; pixel < width * height; pixel++) {
      const [x, y] = [(pixel % width) - target.left, Math.floor(pixel / width) - target.top];
      const isInside = x >= 0 && y >= 0 && x < target.width && y < target.height;
      const place = (y * target.width + x) * pixels.channels;
      data[start + channel * plane + pixel * step] = isInside
        ? convert(valueAt(seen, place, { from, wanted: channels, given: pixels.channels }), channel)
        : margin;
    }
  }
  return { ...placement, picture: { width: pixels.width, height: pixels.height }, source };
}

function valueAt(
  seen: Float32Array,
  place: number,
  { from, wanted, given }: { from: number; wanted: number; given: number },
): number {
  if (given === 1) return seen[place] ?? 0;
  if (wanted === 3) return seen[place + from] ?? 0;
  // Brightness by ITU-R BT.601, as training pipelines have it.
  return 0.299 * (seen[place] ?? 0) + 0.587 * (seen[place + 1] ?? 0) + 0.114 * (seen[place + 2] ?? 0);
}

function converterOf({ image: { scale, mean, std }, datatype }: Making): (value: number, channel: number) => number {
  if (datatype === 'UINT8') return (value) => Math.min(255, Math.max(0, Math.round(value)));
  return (value, channel) =>
    (value * scale - (mean[mean.length === 1 ? 0 : channel] ?? 0)) / (std[std.length === 1 ? 0 : channel] ?? 1);
}

const placementNumbers = 12;

/** Where a picture lies in a tensor, as numbers: its size, source and target areas, and the size of the tensor. */
function encodePlacement({ picture: of, source, target }: Placement, into: Size): Tensor {
  const result = floats([placementNumbers]);
  const areas = [source, target].flatMap(({ left, top, width, height }) => [left, top, width, height]);
  result.data.set([of.width, of.height, ...areas, into.width, into.height]);
  return result;
}

/** The reverse. */
export function decodePlacement(tensor: Tensor): { placement: Placement; size: Size } {
  const numbers = valuesOf(tensor);
  if (numbers.length !== placementNumbers) throw misfit('its "placement" is none that a picture step made');
  const at = (place: number): number => numbers[place] ?? 0;
  const areaAt = (place: number): Area => ({
    left: at(place),
    top: at(place + 1),
    width: at(place + 2),
    height: at(place + 3),
  });
  const placement = { picture: { width: at(0), height: at(1) }, source: areaAt(2), target: areaAt(6) };
  return { placement, size: { width: at(10), height: at(11) } };
}
