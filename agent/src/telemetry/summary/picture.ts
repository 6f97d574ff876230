// What a picture looks like, in a few numbers, out of the tensor that the model gets.
import type { ImageInput } from '@edgeloop/shared/image-manifest';
import { channelsOf, type PictureInput } from '@edgeloop/shared/meaning/media-inputs';
import { numbersOf, type Tensor } from '@edgeloop/shared/tensor-data';

/** Pixels of a picture that are looked at, and pictures of a request. */
const mostPixels = 4096;
const mostPictures = 4;

interface Size {
  width: number;
  height: number;
}

/** Where the pixels of a tensor stand. */
interface Layout extends Size {
  channels: number;
  pictures: number;
  /** From one pixel to the next, to the row below, and to the next channel. */
  step: { x: number; y: number; channel: number };
}

/** From 0 to 1 whatever the model wants: red, green, blue, and how bright it is. */
type Pixel = (x: number, y: number) => { red: number; blue: number; luma: number; saturation: number };

/**
 * As `summaryFields.picture` says, one picture behind the other. `original`: its size before it was made to fit.
 * Undefined for a tensor that holds none.
 */
export function pictureSummaries(
  { image }: PictureInput,
  tensor: Tensor,
  original: Size | undefined,
): number[] | undefined {
  const layout = layoutOf(image, tensor.shape);
  const values = layout && numbersOf(tensor);
  if (layout === undefined || values === undefined) return undefined;
  const { width, height } = original ?? layout;
  const pictures = Array.from({ length: Math.min(mostPictures, layout.pictures) }, (_, at) => {
    const pixel = pixelReader(image, values, layout, at * layout.channels * layout.width * layout.height);
    return [...looksOf(pixel, layout), width / height];
  });
  return pictures.flat();
}

/** Width and height of the pictures in a tensor. */
export function layoutOf(image: ImageInput, shape: readonly number[]): Layout | undefined {
  const channels = channelsOf(image);
  const isLast = image.layout === 'nhwc' && shape.length >= 3 && shape.at(-1) === channels;
  const width = shape.at(isLast ? -2 : -1) ?? 0;
  const height = shape.at(isLast ? -3 : -2) ?? 0;
  const pictures = shape.reduce((product, each) => product * each, 1) / (width * height * channels);
  if (!Number.isInteger(pictures) || pictures < 1) return undefined;
  const step = isLast ? { x: channels, y: channels * width, channel: 1 } : { x: 1, y: width, channel: width * height };
  return { width, height, channels, pictures, step };
}

function pixelReader(image: ImageInput, values: ArrayLike<number>, { step, channels }: Layout, begin: number): Pixel {
  const { mean, std, scale, color } = image;
  const at = (list: readonly number[], channel: number, unset: number) => list[channel] ?? list[0] ?? unset;
  const factors = [0, 1, 2].map((channel) => at(std, channel, 1) / (scale * 255));
  const offsets = [0, 1, 2].map((channel) => at(mean, channel, 0) / (scale * 255));
  const read = (place: number, channel: number) =>
    (values[place + channel * step.channel] ?? Number.NaN) * (factors[channel] ?? 1) + (offsets[channel] ?? 0);
  if (channels === 1)
    return (x, y) => {
      const gray = read(begin + x * step.x + y * step.y, 0);
      return { red: gray, blue: gray, luma: gray, saturation: 0 };
    };
  const [first, last] = color === 'bgr' ? [2, 0] : [0, 2];
  return (x, y) => {
    const place = begin + x * step.x + y * step.y;
    const [red, green, blue] = [read(place, first), read(place, 1), read(place, last)];
    const luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    return { red, blue, luma, saturation: Math.max(red, green, blue) - Math.min(red, green, blue) };
  };
}

/**
 * Brightness, contrast, saturation, warmth, sharpness and blur on a grid of pixels. Blur looks at how brightness differs from
 * pixel to pixel and over two of them: in a sharp picture about as much, in a blurred one half of it, whatever its contrast.
 */
function looksOf(pixel: Pixel, { width, height }: Size): number[] {
  const step = Math.max(1, Math.floor(Math.sqrt((width * height) / mostPixels)));
  const sum = { count: 0, luma: 0, squares: 0, saturation: 0, warmth: 0, near: 0, far: 0 };
  for (let y = 0; y + 2 < height; y += step)
    for (let x = 0; x + 2 < width; x += step) {
      const { red, blue, luma, saturation } = pixel(x, y);
      sum.count += 1;
      sum.luma += luma;
      sum.squares += luma * luma;
      sum.saturation += saturation;
      sum.warmth += red - blue;
      sum.near += Math.abs(luma - pixel(x + 1, y).luma) + Math.abs(luma - pixel(x, y + 1).luma);
      sum.far += Math.abs(luma - pixel(x + 2, y).luma) + Math.abs(luma - pixel(x, y + 2).luma);
    }
  const brightness = sum.luma / sum.count;
  const contrast = Math.sqrt(Math.max(0, sum.squares / sum.count - brightness ** 2));
  const blur = sum.far > 0 ? Math.min(1, Math.max(0, 2 * (1 - sum.near / sum.far))) : Number.NaN;
  return [brightness, contrast, sum.saturation / sum.count, sum.warmth / sum.count, sum.near / (2 * sum.count), blur];
}
