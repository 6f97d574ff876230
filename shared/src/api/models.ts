// The model registry, as the API shows it.
import { z } from 'zod';
import { Instant, ModelName, ModelVersion, Sha256 } from '../identifiers.ts';
import { Manifest } from '../manifest.ts';
import { ModelSignature } from '../tensors.ts';
import { VariantRequirements } from '../variants.ts';

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

/** One of the files of a version that devices pick from. */
export const VariantSummary = z.object({
  name: z.string(),
  /** SHA-256 of its file. */
  digest: Sha256,
  sizeBytes: z.number().int(),
  requires: VariantRequirements,
});
export type VariantSummary = z.infer<typeof VariantSummary>;

export const VersionSummary = z.object({
  model: ModelName,
  version: ModelVersion,
  /** SHA-256 of the ONNX file. */
  digest: Sha256,
  /** SHA-256 of the release document: what devices report to run. */
  release: Sha256,
  sizeBytes: z.number().int(),
  createdAt: Instant,
  createdBy: z.string(),
  lineage: Lineage,
  /** Held-out metrics known at registration, for example `accuracy`. */
  metrics: z.record(z.string(), z.number()),
  /** In the order in which devices prefer them; absent when there is one file only. */
  variants: z.array(VariantSummary).optional(),
});
export type VersionSummary = z.infer<typeof VersionSummary>;

/** What devices run under a number of the model and is not registered under it, as after a backup was restored. */
export const UnknownRelease = z.object({
  version: ModelVersion,
  /** Null when the devices do not say it: then there is no version of this number. */
  release: Sha256.nullable(),
  devices: z.number().int(),
});
export type UnknownRelease = z.infer<typeof UnknownRelease>;

/** A name for a version that moves: rollouts move it when they complete. */
export const ModelAlias = z.object({
  alias: z.string(),
  version: ModelVersion,
  updatedAt: Instant,
  updatedBy: z.string(),
});
export type ModelAlias = z.infer<typeof ModelAlias>;
export const AliasSet = z.strictObject({ version: ModelVersion });

export const Model = z.object({
  name: ModelName,
  description: z.string(),
  createdAt: Instant,
  versions: z.array(VersionSummary),
  unknownReleases: z.array(UnknownRelease),
  aliases: z.array(ModelAlias).default([]),
});
export type Model = z.infer<typeof Model>;

export const ModelVersionDetail = VersionSummary.extend({
  signature: z.string(),
  io: ModelSignature,
  manifest: Manifest,
  goldenSamples: z.number().int(),
});
export type ModelVersionDetail = z.infer<typeof ModelVersionDetail>;
