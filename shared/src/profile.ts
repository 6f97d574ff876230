// The reference profile of a model version: what its inputs and outputs looked like on the data it was made with.
// Its bin edges travel with the model, so that histograms of every device and window can be added and compared.
import { z } from 'zod';
import { CategoryCounts } from './sketches/category-counts.ts';
import { ValueSketch } from './sketches/value-sketch.ts';

/**
 * How much mean scores of contiguous blocks of the reference vary, in multiples of what independent rows would
 * (`sketches/scores.ts`): `size` rows a block, so many blocks, one effect a score. Longer blocks follow shorter ones. `excess`: how
 * much heavier the tails of these mean scores are than those of a normal variable (excess kurtosis).
 */
export const Blocks = z
  .array(
    z.object({
      size: z.number().int().min(1),
      count: z.number().int().min(2),
      effects: z.array(z.number().min(0)).max(8),
      excess: z.array(z.number()).max(8).optional(),
    }),
  )
  .max(16);
export type Blocks = z.infer<typeof Blocks>;

/** Mean and deviation of the PSI of contiguous blocks against the whole. */
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
    blocks: Blocks.optional(),
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

export const CategoryProfile = z.object({
  counts: z.record(z.string(), z.number().int().min(0)),
  blockPsi: BlockPsi.optional(),
  blocks: Blocks.optional(),
});
export type CategoryProfile = z.infer<typeof CategoryProfile>;

/** Reference of a signal whose windows hold a sketch that finds its own bins. */
export const SketchProfile = z.object({
  sketch: ValueSketch,
  blockPsi: BlockPsi.optional(),
  blocks: Blocks.optional(),
});
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
  /** Rows that the accuracy was measured on; `rows` when unset. */
  accuracyRows: z.number().int().min(1).optional(),
  /** Of the rows in each bin of `confidence`, those answered right: what a confidence is worth. */
  confidenceCorrect: z.array(z.number().int().min(0)).max(258).optional(),
});
export type ReferenceProfile = z.infer<typeof ReferenceProfile>;
