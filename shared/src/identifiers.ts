// Names that appear in topics, paths and URLs, so their alphabet is narrow.
import { z } from 'zod';

export const DeviceId = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    'must be 1 to 63 letters, digits, ".", "_" or "-", starting with a letter or digit',
  );
export type DeviceId = z.infer<typeof DeviceId>;

export const ModelName = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
    'must be 1 to 63 letters, digits, ".", "_" or "-", starting with a letter or digit',
  );
export type ModelName = z.infer<typeof ModelName>;

/** Versions of a model count up from 1. */
export const ModelVersion = z
  .number()
  .int()
  .min(1)
  .max(2 ** 31 - 1);
export type ModelVersion = z.infer<typeof ModelVersion>;

/** SHA-256 in lower-case hex. */
export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in lower-case hex');
export type Sha256 = z.infer<typeof Sha256>;

/** Milliseconds since the Unix epoch, by the clock of whoever wrote it. */
export const Instant = z.number().int().min(0);
export type Instant = z.infer<typeof Instant>;
