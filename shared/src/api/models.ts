// The model registry, as the API shows it.
import { z } from 'zod';
import { Instant, ModelName, ModelVersion, Sha256 } from '../identifiers.ts';
import { Manifest } from '../manifest.ts';
import { ModelSignature } from '../tensors.ts';

/** Where a version came from. */
export const Lineage = z.object({
  source: z.enum(['upload', 'training']),
  runId: z.string().optional(),
  pipeline: z.string().optional(),
  dataset: z.object({ name: z.string(), version: z.number().int(), digest: Sha256 }).optional(),
  /** Version of the same model that this one was trained to replace. */
  parent: ModelVersion.optional(),
});
export type Lineage = z.infer<typeof Lineage>;

export const ModelCreate = z.strictObject({ name: ModelName, description: z.string().max(2000).default('') });

export const VersionSummary = z.object({
  model: ModelName,
  version: ModelVersion,
  digest: Sha256,
  sizeBytes: z.number().int(),
  createdAt: Instant,
  createdBy: z.string(),
  lineage: Lineage,
  /** Held-out metrics known at registration, for example `accuracy`. */
  metrics: z.record(z.string(), z.number()),
});
export type VersionSummary = z.infer<typeof VersionSummary>;

export const Model = z.object({
  name: ModelName,
  description: z.string(),
  createdAt: Instant,
  versions: z.array(VersionSummary),
});
export type Model = z.infer<typeof Model>;

export const ModelVersionDetail = VersionSummary.extend({
  release: Sha256,
  signature: z.string(),
  io: ModelSignature,
  manifest: Manifest,
  goldenSamples: z.number().int(),
});
export type ModelVersionDetail = z.infer<typeof ModelVersionDetail>;
