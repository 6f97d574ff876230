// `model.json`: what people say about a model that its ONNX file does not. Everything is optional.
import { z } from 'zod';
import { ReferenceProfile } from './profile.ts';

export const tasks = ['classification', 'regression', 'detection', 'anomaly', 'generic'] as const;

export const ImageInput = z.strictObject({
  width: z.number().int().min(1).max(16384),
  height: z.number().int().min(1).max(16384),
  crop: z.enum(['center', 'stretch', 'pad']).default('stretch'),
  layout: z.enum(['nchw', 'nhwc']).default('nchw'),
  color: z.enum(['rgb', 'bgr', 'gray']).default('rgb'),
  scale: z.number().default(1),
  mean: z.array(z.number()).max(4).default([]),
  std: z
    .array(z.number().refine((value) => value !== 0, 'must not be 0'))
    .max(4)
    .default([]),
});

export const InputManifest = z.strictObject({
  /** Names of the values along the last dimension. */
  features: z.array(z.string().min(1).max(200)).min(1).max(65536).optional(),
  image: ImageInput.optional(),
});

export const OutputsManifest = z.strictObject({
  /** Class names, in the order of the scores. */
  labels: z.array(z.string().min(1).max(200)).min(1).max(65536).optional(),
  /** The output tensor that holds a score per class; found by shape when unset. */
  scores: z.string().optional(),
});

export const CapturePolicy = z.strictObject({
  /** Share of all answers to keep, 0 to 1. */
  rate: z.number().min(0).max(1).default(0),
  /** Also keep answers whose highest score is below this. */
  confidenceBelow: z.number().min(0).max(1).optional(),
  /** Also keep this share of the answers whose truth was reported through feedback, 0 to 1. */
  labelledRate: z.number().min(0).max(1).default(1),
});
export type CapturePolicy = z.infer<typeof CapturePolicy>;

export const Manifest = z.strictObject({
  task: z.enum(tasks).default('generic'),
  description: z.string().max(2000).optional(),
  inputs: z.record(z.string(), InputManifest).default({}),
  outputs: OutputsManifest.default({}),
  batching: z
    .strictObject({
      maxBatch: z.number().int().min(1).max(1024).default(32),
      maxDelayMs: z.number().min(0).max(1000).default(0),
    })
    .prefault({}),
  /** Parallel copies of the model; as many as fit the device when unset. */
  instances: z.number().int().min(1).max(64).optional(),
  isolation: z.enum(['shared', 'process']).default('shared'),
  capture: CapturePolicy.prefault({}),
  monitoring: z.strictObject({ reference: ReferenceProfile.optional() }).prefault({}),
});
export type Manifest = z.infer<typeof Manifest>;
export type ManifestInput = z.input<typeof Manifest>;

/** Largest manifest that is read, in bytes. */
export const maxManifestBytes = 8 * 1024 * 1024;
