// What the evaluation process is asked and what it answers.
import { GoldenSamples } from '@edgeloop/shared/golden';
import { ReferenceProfile } from '@edgeloop/shared/profile';
import { z } from 'zod';
import { Classifier } from './scoring.ts';

export const MeasurementInput = z.object({
  challenger: Classifier,
  champion: Classifier.nullable(),
  /** The Parquet file of each split. */
  files: z.object({ train: z.string(), validation: z.string(), test: z.string() }),
  /** Parquet file of field rows that the reference is made of; of the validation and test rows without. */
  recent: z.string().nullable(),
  /** What the trainer says its model predicts for the test rows. */
  predictions: z.string(),
});
export type MeasurementInput = z.infer<typeof MeasurementInput>;

const Count = z.number().int().min(0);
const PairedCounts = z.object({ both: Count, challengerOnly: Count, rivalOnly: Count, neither: Count });

export const Measurement = z.object({
  /** Against the champion, or null without one. */
  champion: PairedCounts.nullable(),
  /** Against the most frequent class of the training rows. */
  majority: PairedCounts,
  parity: z.object({
    /** Largest difference between a score of the ONNX file and the trainer's own. */
    maxDifference: z.number(),
    /** Share of rows for which both predict the same class, 0 to 1. */
    sameClass: z.number(),
  }),
  reference: ReferenceProfile,
  golden: GoldenSamples,
});
export type Measurement = z.infer<typeof Measurement>;

/** `refused`: why the files cannot be evaluated, for people. */
export const MeasurementAnswer = z.union([z.object({ measurement: Measurement }), z.object({ refused: z.string() })]);
export type MeasurementAnswer = z.infer<typeof MeasurementAnswer>;
