// Pixels -> the numbers that the model was trained on. One table look-up a value, since a byte has 256 of them.
import { encodeHalf } from '@edgeloop/shared/float16';
import type { ImageInput } from '@edgeloop/shared/image-manifest';
import { channelsOf, type PictureInput } from '@edgeloop/shared/meaning/media-inputs';
import type { Size } from '@edgeloop/shared/meaning/picture-placement';
import { elementCount, type NamedTensor } from '@edgeloop/shared/tensor-data';

type PixelData = Float32Array | Uint16Array | Uint8Array;

/** `rgb`: three bytes a pixel, row by row, of this size, which the model takes. */
export function pixelTensor(rgb: Uint8Array, picture: PictureInput, size: Size): NamedTensor {
  const { spec, image } = picture;
  const shape = shapeOf(picture, size);
  const channels = channelsOf(image);
  const data = emptyFor(spec.datatype, elementCount(shape));
  const pixels = size.width * size.height;
  const planar = image.layout === 'nchw';
  for (let channel = 0; channel < channels; channel++) {
    const table = tableOf(image, channel, spec.datatype);
    const from = image.color === 'bgr' ? 2 - channel : channel;
    const [start, step] = planar ? [channel * pixels, 1] : [channel, channels];
    for (let pixel = 0, at = start; pixel < pixels; pixel++, at += step) {
      const value = channels === 1 ? luma(rgb, pixel * 3) : (rgb[pixel * 3 + from] ?? 0);
      data[at] = table[value] ?? 0;
    }
  }
  return { name: spec.name, datatype: spec.datatype, shape, data };
}

function shapeOf({ image, shape }: PictureInput, { width, height }: Size): readonly number[] {
  if (image.crop !== 'inside') return shape;
  const planar = image.layout === 'nchw' || shape.at(-1) !== channelsOf(image);
  return shape.with(planar ? -1 : -2, width).with(planar ? -2 : -3, height);
}

function emptyFor(datatype: string, length: number): PixelData {
  if (datatype === 'UINT8') return new Uint8Array(length);
  return datatype === 'FP16' ? new Uint16Array(length) : new Float32Array(length);
}

/** What each of the 256 values becomes. */
function tableOf({ scale, mean, std }: ImageInput, channel: number, datatype: string): PixelData {
  const ofChannel = (values: readonly number[], otherwise: number): number =>
    values[values.length === 1 ? 0 : channel] ?? otherwise;
  const values = Array.from({ length: 256 }, (_, value) => (value * scale - ofChannel(mean, 0)) / ofChannel(std, 1));
  if (datatype === 'UINT8') return Uint8Array.from({ length: 256 }, (_, value) => value);
  return datatype === 'FP16' ? Uint16Array.from(values, encodeHalf) : Float32Array.from(values);
}

/** Brightness by ITU-R BT.601, as training pipelines have it. */
function luma(rgb: Uint8Array, at: number): number {
  return Math.round(0.299 * (rgb[at] ?? 0) + 0.587 * (rgb[at + 1] ?? 0) + 0.114 * (rgb[at + 2] ?? 0));
}
