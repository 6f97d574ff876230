// How a picture becomes a tensor: said of inputs of models, and of steps of pipelines.
import { z } from 'zod';

const Byte = z.number().int().min(0).max(255);

/** A picture becomes `(pixel * scale - mean) / std` per channel; a UINT8 input takes the pixels as they are. */
export const ImageInput = z.strictObject({
  width: z.number().int().min(1).max(16384),
  height: z.number().int().min(1).max(16384),
  /** `inside`: as it is, made smaller only where it is larger than `width` and `height`, for tensors of any such size. */
  crop: z.enum(['center', 'stretch', 'pad', 'inside']).default('stretch'),
  /** Of the margins that `pad` leaves: one value, or red, green and blue. Black when unset. */
  padColor: z.union([Byte, z.tuple([Byte, Byte, Byte])]).optional(),
  /** Where `pad` puts the picture; in the middle when unset. */
  padAt: z.enum(['center', 'top-left']).optional(),
  /** Whether pixels go through the colour profile of the file; they do when unset. */
  colorProfile: z.enum(['apply', 'ignore']).optional(),
  /** Whether the picture is turned upright by its EXIF orientation; it is when unset. */
  orientation: z.enum(['exif', 'ignore']).optional(),
  layout: z.enum(['nchw', 'nhwc']).default('nchw'),
  color: z.enum(['rgb', 'bgr', 'gray']).default('rgb'),
  scale: z.number().default(1),
  mean: z.array(z.number()).max(4).default([]),
  std: z
    .array(z.number().refine((value) => value !== 0, 'must not be 0'))
    .max(4)
    .default([]),
});
export type ImageInput = z.infer<typeof ImageInput>;
