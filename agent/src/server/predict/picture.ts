// JPEG, PNG and WebP bodies -> pixels of the model's size. The decoder works in threads of its own.
import { availableParallelism } from 'node:os';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import type { ImageInput } from '@edgeloop/shared/image-manifest';
import { type Placement, placementOf, type Size, seenSize } from '@edgeloop/shared/meaning/picture-placement';
import type { Sharp, default as SharpLibrary } from 'sharp';
import { pictureFormat } from './media-type.ts';

/** Decoded, this is 192 MB; a small file may claim to be far more. */
const maxPixels = 64 * 1024 * 1024;
const maxPictureBytes = 32 * 1024 * 1024;
/** Pictures being decoded or waiting for it. Beyond, callers are told to come back. */
const maxDecoding = 64;
const decodeSeconds = 10;

let library: Promise<typeof SharpLibrary> | undefined;

/** Loaded at the first picture: it costs time and memory that most devices' models have no use for. */
function sharpLibrary(): Promise<typeof SharpLibrary> {
  library ??= import('sharp').then(
    ({ default: sharp }) => {
      // Inference has the cores: a picture uses one of them, and nothing is kept behind.
      sharp.concurrency(1);
      sharp.cache(false);
      return sharp;
    },
    (cause) => {
      throw new AppError('unsupported', `pictures can't be decoded on this device: ${messageOf(cause)}`, { cause });
    },
  );
  return library;
}

/** Decodes that run; others of this process need its few threads for files too. */
const slots = Math.min(2, availableParallelism());
let decoding = 0;
const waiting: (() => void)[] = [];

/** Does the work once fewer than `slots` others do theirs, in the order of their coming. */
async function inTurn<R>(work: () => Promise<R>): Promise<R> {
  decoding++;
  if (decoding > slots) await new Promise<void>((resolve) => waiting.push(resolve));
  try {
    return await work();
  } finally {
    decoding--;
    waiting.shift()?.();
  }
}

export interface FittedPicture {
  /** Three bytes a pixel, row by row, of a size that the model takes. */
  rgb: Uint8Array;
  /** Where they come from. */
  placement: Placement;
  /** Of these pixels. */
  size: Size;
}

/** Throws `invalid_request` for what is no picture, `payload_too_large`, or `unavailable` when too many are decoded. */
export async function fitPicture(bytes: Buffer, image: ImageInput): Promise<FittedPicture> {
  if (bytes.length > maxPictureBytes) {
    throw new AppError('payload_too_large', `pictures are read up to ${maxPictureBytes} bytes`);
  }
  // Whatever else the library can read, drawings with links in them for example, is none of our formats.
  if (!pictureFormat(bytes)) throw new AppError('invalid_request', 'the body is no JPEG, PNG or WebP picture');
  if (decoding >= maxDecoding) throw new AppError('unavailable', 'too many pictures at once', { retryAfterSeconds: 1 });
  return inTurn(async () => {
    try {
      return await fitFile({ bytes, image, failOn: 'error' });
    } catch (error) {
      if (!(error instanceof AppError && endsEarly.test(messageOf(error.cause)))) throw error;
      // Cameras leave out the mark at the end. With it, what is really cut short is told by a warning of the decoder.
      return fitFile({ bytes: ended(bytes), image, failOn: 'warning' });
    }
  });
}

const endsEarly = /premature end of JPEG/i;

/** With the mark in the place of the zeros that fill up a camera's buffer. A zero behind 0xFF is part of the picture. */
function ended(jpeg: Buffer): Buffer {
  let end = jpeg.length;
  while (end > 0 && jpeg[end - 1] === 0) end--;
  const isHalf = jpeg[end - 1] === 0xff;
  if (isHalf && end < jpeg.length) return Buffer.concat([jpeg.subarray(0, end + 1), Buffer.of(0xff, 0xd9)]);
  return Buffer.concat([jpeg.subarray(0, end), Buffer.from(isHalf ? [0xd9] : [0xff, 0xd9])]);
}

interface PictureFile {
  bytes: Buffer;
  image: ImageInput;
  /** What of the decoder's complaints is a failure. */
  failOn: 'error' | 'warning';
}

async function fitFile({ bytes, image, failOn }: PictureFile): Promise<FittedPicture> {
  const sharp = await sharpLibrary();
  const autoOrient = image.orientation !== 'ignore';
  const ignoreIcc = image.colorProfile === 'ignore';
  const open = (): Sharp => sharp(bytes, { failOn, limitInputPixels: maxPixels, autoOrient, ignoreIcc });
  const placement = placementOf(await sizeOf(open(), autoOrient), image);
  const size = seenSize(placement, image);
  return { rgb: await fit(open(), placement, { ...image, ...size }), placement, size };
}

async function sizeOf(picture: Sharp, isUpright: boolean): Promise<Size> {
  const { width, height, autoOrient } = await decoded(() => picture.metadata());
  const size = isUpright ? autoOrient : { width, height };
  if (size.width * size.height > maxPixels) {
    const claims = `the picture has ${size.width} x ${size.height} pixels`;
    throw new AppError('payload_too_large', `${claims}; up to ${maxPixels} in all are decoded`);
  }
  return size;
}

function fit(picture: Sharp, { source, target }: Placement, { width, height, padColor }: ImageInput): Promise<Buffer> {
  const [right, bottom] = [width - target.left - target.width, height - target.top - target.height];
  const [r, g, b] = typeof padColor === 'object' ? padColor : [padColor ?? 0, padColor ?? 0, padColor ?? 0];
  return decoded(() =>
    picture
      .timeout({ seconds: decodeSeconds })
      .extract(source)
      .resize(target.width, target.height, { fit: 'fill', kernel: 'linear' })
      .removeAlpha()
      .extend({ left: target.left, top: target.top, right, bottom, background: { r, g, b } })
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer(),
  );
}

async function decoded<R>(work: () => Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (cause) {
    const reason = messageOf(cause).split('\n')[0];
    if (/pixel limit/i.test(messageOf(cause))) {
      throw new AppError('payload_too_large', `the picture has more than ${maxPixels} pixels`, { cause });
    }
    throw new AppError('invalid_request', `the picture can't be decoded: ${reason}`, { cause });
  }
}
