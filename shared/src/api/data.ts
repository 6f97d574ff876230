// Field samples, labels and datasets.
import { z } from 'zod';
import { DeviceId, Instant, ModelName, ModelVersion, Sha256 } from '../identifiers.ts';
import { CapturedSample, OtherPrediction } from '../telemetry.ts';

export const Sample = z.object({
  inferenceId: z.string(),
  deviceId: z.string(),
  model: ModelName,
  version: ModelVersion,
  predictedAt: Instant,
  reason: CapturedSample.shape.reason,
  predicted: z.string().nullable(),
  score: z.number().nullable(),
  label: z.string().nullable(),
  /** What a shadow says instead, of a disagreement. */
  other: OtherPrediction.nullable().default(null),
});
export type Sample = z.infer<typeof Sample>;
export const SampleQuery = z.object({ model: ModelName.optional(), labelled: z.enum(['true', 'false']).optional() });

/** Truths that reach the control plane from elsewhere than the device. Ids are a device's own: two may use the same one. */
export const LabelsCreate = z.strictObject({
  labels: z
    .array(
      z.strictObject({
        inferenceId: z.string().min(1).max(200),
        label: z.string().min(1).max(200),
        /** Needed when several devices have used the id. */
        deviceId: DeviceId.optional(),
      }),
    )
    .min(1)
    .max(1000),
});
export const LabelsResult = z.object({
  stored: z.number().int(),
  unknown: z.array(z.string()),
  /** Ids that several devices have used, labelled nowhere: say which device is meant. */
  ambiguous: z.array(z.string()),
});
export type LabelsResult = z.infer<typeof LabelsResult>;

export const DatasetCreate = z.strictObject({ name: ModelName, description: z.string().max(2000).default('') });

const SplitShares = z
  .strictObject({
    train: z.number().min(0).max(1).default(0.7),
    validation: z.number().min(0).max(1).default(0.15),
    test: z.number().min(0).max(1).default(0.15),
  })
  .refine(
    (split) => Math.abs(split.train + split.validation + split.test - 1) < 1e-9,
    'train, validation and test must add up to 1',
  )
  .prefault({});

/**
 * How a version is made: rows of earlier versions of this dataset, plus labelled samples of a model from the field.
 * Splits are by hash of the row, so that the same rows give the same splits.
 */
export const DatasetBuild = z.strictObject({
  /** Version to start from; its rows keep their splits. */
  base: ModelVersion.optional(),
  fromField: z
    .strictObject({
      model: ModelName,
      from: Instant.optional(),
      to: Instant.optional(),
      maxRows: z.number().int().min(1).max(5_000_000).optional(),
    })
    .optional(),
  split: SplitShares,
});
export type DatasetBuild = z.infer<typeof DatasetBuild>;

/** `options` of an import, beside the `file` (CSV with a header, or Parquet): every other column is a numeric feature. */
export const DatasetImport = z.strictObject({
  format: z.enum(['csv', 'parquet']),
  label: z.string().min(1).default('label'),
  /** Column with `train`, `validation` or `test`; without it the split is by hash of the row. */
  splitColumn: z.string().min(1).optional(),
  split: SplitShares,
});
export type DatasetImport = z.infer<typeof DatasetImport>;

export const DatasetVersion = z.object({
  dataset: ModelName,
  version: ModelVersion,
  /** SHA-256 over schema and rows; the same rows give the same digest. */
  digest: Sha256,
  rows: z.object({ train: z.number().int(), validation: z.number().int(), test: z.number().int() }),
  /** Rows that cleaning left out, by reason. */
  dropped: z.record(z.string(), z.number().int()),
  schema: z.object({ features: z.array(z.string()), label: z.string(), classes: z.array(z.string()) }),
  lineage: z.object({
    base: ModelVersion.nullable(),
    import: z.object({ fileDigest: Sha256, format: z.enum(['csv', 'parquet']) }).nullable(),
    field: z.object({ model: ModelName, rows: z.number().int(), from: Instant, to: Instant }).nullable(),
  }),
  createdAt: Instant,
  createdBy: z.string(),
});
export type DatasetVersion = z.infer<typeof DatasetVersion>;
export const Dataset = z.object({
  name: ModelName,
  description: z.string(),
  createdAt: Instant,
  versions: z.array(DatasetVersion),
});
export type Dataset = z.infer<typeof Dataset>;
export const splits = ['train', 'validation', 'test'] as const;
export const Split = z.enum(splits);
export type Split = z.infer<typeof Split>;
