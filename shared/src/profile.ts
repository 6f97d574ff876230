// The reference profile of a model version: what its inputs and outputs looked like on the data it was made with.
// Its bin edges travel with the model, so that histograms of every device and window can be added and compared.
import { z } from 'zod';
import { CategoryCounts } from './sketches/category-counts.ts';
import { ValueSketch } from './sketches/value-sketch.ts';

const BlockPsi = z.object({
  mean: z.number().min(0),
  deviation: z.number().min(0),
  blockSize: z.number().int().min(1),
});

/**
 * Reference of one numeric value.
 * `edges`: n strictly increasing numbers, making n-1 bins [edge i, edge i+1), the last one closed.
 * `counts`: n+2 numbers in the order under, the n-1 bins, over, missing.
 * `blockPsi`: mean and standard deviation of the PSI of consecutive blocks of the reference against the whole, which
 * tells how much the value moves without any drift.
 */
export const NumericProfile = z
  .object({
    edges: z.array(z.number()).min(1).max(256),
    counts: z.array(z.number().int().min(0)),
    blockPsi: BlockPsi.optional(),
  })
  .refine(
    (profile) => profile.counts.length === profile.edges.length + 2,
    'counts must have two entries more than edges (under, bins, over, missing)',
  )
  .refine(
    (profile) => profile.edges.every((edge, i) => i === 0 || edge > (profile.edges[i - 1] ?? edge)),
    'edges must be strictly increasing',
  );
export type NumericProfile = z.infer<typeof NumericProfile>;

export const CategoryProfile = z.object({ counts: z.record(z.string(), z.number().int().min(0)) });
export type CategoryProfile = z.infer<typeof CategoryProfile>;

/** Reference of a signal whose windows hold a sketch that finds its own bins. */
export const SketchProfile = z.object({ sketch: ValueSketch, blockPsi: BlockPsi.optional() });
export type SketchProfile = z.infer<typeof SketchProfile>;

export const ReferenceProfile = z.object({
  /** Rows the profile was made of. */
  rows: z.number().int().min(1),
  features: z.record(z.string(), NumericProfile).default({}),
  /** Highest class score of each row. */
  confidence: NumericProfile.optional(),
  /** Predicted classes. */
  classes: CategoryProfile.optional(),
  /** Signals by their names in windows: of pictures, sounds, other tensors and answers, and features that have no bins above. */
  signals: z.record(z.string(), SketchProfile).optional(),
  categories: z.record(z.string(), CategoryCounts).optional(),
  /** Accuracy on the held-out data, 0 to 1, for comparison with labels from the field. */
  accuracy: z.number().min(0).max(1).optional(),
});
export type ReferenceProfile = z.infer<typeof ReferenceProfile>;
