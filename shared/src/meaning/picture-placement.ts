// How a picture of any size becomes one of the model's size, and where a point of that lies in the picture. Pure.
import type { ImageInput } from '../image-manifest.ts';
import type { Box } from './detection-layout.ts';

export interface Size {
  width: number;
  height: number;
}

export interface Area extends Size {
  left: number;
  top: number;
}

/** Integer pixels: `source` of the picture is scaled onto `target` of the model's input; around it are margins. */
export interface Placement {
  picture: Size;
  source: Area;
  target: Area;
}

/** `center` cuts the sides off, `pad` leaves margins, `stretch` keeps all and distorts, `inside` makes no larger. */
export function placementOf(picture: Size, { width, height, crop, padAt }: ImageInput): Placement {
  const whole = { left: 0, top: 0, ...picture };
  const full = { left: 0, top: 0, width, height };
  if (crop === 'center') return { picture, source: centred(fitted({ width, height }, picture), picture), target: full };
  if (crop === 'inside') {
    const isLarger = picture.width > width || picture.height > height;
    const size = isLarger ? fitted(picture, { width, height }) : picture;
    return { picture, source: whole, target: { left: 0, top: 0, ...size } };
  }
  if (crop === 'pad') {
    const size = fitted(picture, { width, height });
    return {
      picture,
      source: whole,
      target: padAt === 'top-left' ? { left: 0, top: 0, ...size } : centred(size, full),
    };
  }
  return { picture, source: whole, target: full };
}

/** Of the picture as the model sees it. */
export function seenSize({ target }: Placement, { width, height, crop }: ImageInput): Size {
  return crop === 'inside' ? { width: target.width, height: target.height } : { width, height };
}

/** The largest size of the shape of `shape` that fits into `into`. */
function fitted(shape: Size, into: Size): Size {
  const scale = Math.min(into.width / shape.width, into.height / shape.height);
  const bounded = (length: number, most: number): number => Math.min(most, Math.max(1, Math.round(length * scale)));
  return { width: bounded(shape.width, into.width), height: bounded(shape.height, into.height) };
}

function centred(size: Size, within: Size): Area {
  const left = Math.floor((within.width - size.width) / 2);
  const top = Math.floor((within.height - size.height) / 2);
  return { left, top, ...size };
}

/** A box in the model's input as one in the picture, cut at its edges; undefined when nothing of it is inside. */
export function boxInPicture({ left, top, right, bottom }: Box, placement: Placement): Area | undefined {
  const { picture } = placement;
  const [start, end] = [pointInPicture(left, top, placement), pointInPicture(right, bottom, placement)];
  const [x, y] = [clamp(start.x, picture.width), clamp(start.y, picture.height)];
  const box = { left: x, top: y, width: clamp(end.x, picture.width) - x, height: clamp(end.y, picture.height) - y };
  return box.width > 0 && box.height > 0 ? box : undefined;
}

/** A point in the model's input as one in the picture, which may lie outside of it. */
export function pointInPicture(left: number, top: number, { source, target }: Placement): { x: number; y: number } {
  return {
    x: source.left + ((left - target.left) * source.width) / target.width,
    y: source.top + ((top - target.top) * source.height) / target.height,
  };
}

/** The reverse for an area of the picture: where it is in the model's input. */
export function areaInModel({ left, top, width, height }: Area, { source, target }: Placement): Box {
  const [x, y] = [target.width / source.width, target.height / source.height];
  return {
    left: target.left + (left - source.left) * x,
    top: target.top + (top - source.top) * y,
    right: target.left + (left + width - source.left) * x,
    bottom: target.top + (top + height - source.top) * y,
  };
}

function clamp(value: number, most: number): number {
  return Math.min(most, Math.max(0, value));
}
