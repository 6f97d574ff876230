// `model.json`: what people say about a model that its ONNX file does not. Everything is optional.
import { z } from 'zod';
import { Acceptance } from './acceptance.ts';
import { DetectionOutputs, SegmentationOutputs } from './detection-manifest.ts';
import { ModelVersion } from './identifiers.ts';
import { ImageInput } from './image-manifest.ts';
import { Pipeline } from './pipeline-manifest.ts';
import { ReferenceProfile } from './profile.ts';
import { ManifestVariant, VariantSelection } from './variants.ts';

export const tasks = [
  'classification',
  'regression',
  'detection',
  'segmentation',
  'embedding',
  'anomaly',
  'generic',
] as const;

/** Mono samples from -1 to 1 along the last dimension. */
export const AudioInput = z.strictObject({
  /** Samples a second. */
  sampleRate: z.number().int().min(1).max(768_000),
  /** Whether recordings of another rate are resampled rather than refused; they are when unset. */
  resample: z.boolean().optional(),
  /** How many samples the model takes at once, where its tensor leaves that free. */
  samples: z.number().int().min(1).max(100_000_000).optional(),
  /** Samples from one window to the next: recordings of any length are taken window by window. */
  hop: z.number().int().min(1).max(100_000_000).optional(),
  /** How many of a window's samples come before its time: what the model wants to hear again. Silence before the first. */
  context: z.number().int().min(1).max(100_000_000).optional(),
});
export type AudioInput = z.infer<typeof AudioInput>;

/** Texts become tokens; an attention mask and token types go where the model has inputs of these names. */
export const TextInput = z.strictObject({
  /** A `tokenizer.json`: a file beside the model or its manifest, or what stands in it, which is how it travels. */
  tokenizer: z.union([
    z.string().regex(/^[\w-][\w.-]{0,199}$/, 'must be the name of a file beside the model'),
    z.record(z.string(), z.unknown()),
  ]),
  /** Longer texts are cut; what the tokenizer's file says when unset, else 512. */
  maxTokens: z.number().int().min(2).max(32_768).optional(),
});
export type TextInput = z.infer<typeof TextInput>;

const Constant = z.union([z.number(), z.boolean(), z.string().max(1000)]);

export const InputManifest = z.strictObject({
  /** Names of the values along the last dimension. */
  features: z.array(z.string().min(1).max(200)).min(1).max(65536).optional(),
  /** What a feature gets that has no value in a request, or is left out of it. */
  defaults: z.record(z.string(), Constant).optional(),
  /**
   * What becomes of a feature that has no value in a request and no default: NaN, or a refusal. When unset, floating point
   * inputs get NaN, and the request is refused when the model answers NaN for it; other inputs refuse.
   */
  missing: z.enum(['nan', 'refuse']).optional(),
  image: ImageInput.optional(),
  audio: AudioInput.optional(),
  text: TextInput.optional(),
  /** What the input gets from `/predict` when its caller says nothing: one value for all elements, or a flat list. */
  value: z.union([Constant, z.array(Constant).min(1).max(1_048_576)]).optional(),
  /** The output that this input gets in the next window of a recording. It begins with `value`, or zeros. */
  state: z.string().optional(),
});
export type InputManifest = z.infer<typeof InputManifest>;

/** A vector for each row. */
export const EmbeddingOutputs = z.strictObject({
  output: z.string(),
  /** How vectors of tokens become one: their mean, or the first token's. `none`, when unset: the output is that vector. */
  pooling: z.enum(['none', 'mean', 'cls']).optional(),
  /** To length 1. */
  normalise: z.boolean().optional(),
});
export type EmbeddingOutputs = z.infer<typeof EmbeddingOutputs>;

export const OutputsManifest = z.strictObject({
  /** Class names, in the order of the scores; names of the values of a regression. */
  labels: z.array(z.string().min(1).max(200)).min(1).max(65536).optional(),
  /** The output tensor that holds a score per class; found by shape when unset. */
  scores: z.string().optional(),
  /** The output tensor that holds the class itself, as a text or an integer; found by its name and type when unset. */
  label: z.string().optional(),
  /** What makes probabilities of the scores, where the model itself does not. */
  activation: z.enum(['softmax', 'sigmoid']).optional(),
  detection: DetectionOutputs.optional(),
  segmentation: SegmentationOutputs.optional(),
  embedding: EmbeddingOutputs.optional(),
  /** Anomaly scores from this one on are anomalous. In recordings, values from this one on are told as segments. */
  threshold: z.number().optional(),
  /** Whether scores from the threshold on are anomalous, or those below it; the former when unset. */
  anomalous: z.enum(['from', 'below']).optional(),
  /** Of recordings, in seconds: segments with less between them are one, and shorter ones are then left out. */
  segments: z
    .strictObject({ joinWithin: z.number().min(0).optional(), atLeast: z.number().min(0).optional() })
    .optional(),
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

/** An input that says so: its name, or the values that it takes where they are not 0 and 1. */
const FlagControl = z.union([
  z.string().min(1).max(200),
  z.strictObject({ input: z.string().min(1).max(200), falseTrue: z.tuple([z.number(), z.number()]) }),
]);

/** Inputs that tell a model where in a sequence a request stands; Triton's control inputs. */
export const SequenceControls = z.strictObject({
  /** The request is the first one. */
  start: FlagControl.optional(),
  /** It is the last one. */
  end: FlagControl.optional(),
  /** There is a request; always so here. */
  ready: FlagControl.optional(),
  /** The id of the sequence. */
  id: z.string().min(1).max(200).optional(),
});
export type SequenceControls = z.infer<typeof SequenceControls>;

export const Manifest = z.strictObject({
  task: z.enum(tasks).default('generic'),
  description: z.string().max(2000).optional(),
  /** Several models and what is to be done between them, which answer as one. All else is said of what it takes and gives. */
  pipeline: Pipeline.optional(),
  inputs: z.record(z.string(), InputManifest).default({}),
  outputs: OutputsManifest.default({}),
  batching: z
    .strictObject({
      maxBatch: z.number().int().min(1).max(1024).default(32),
      maxDelayMs: z.number().min(0).max(1000).default(0),
    })
    .prefault({}),
  /** Stand-alone serving only: which versions in the folder are served; the highest one when unset. */
  versions: z
    .union([
      z.literal('all'),
      z.strictObject({ latest: z.number().int().min(1).max(1000) }),
      z.array(ModelVersion).min(1).max(1000),
    ])
    .optional(),
  /**
   * Of a model with inputs that have a "state", or that tell it of its sequences: how long one may be silent, how many there may be
   * at a time, and which inputs are filled in.
   */
  sequences: z
    .strictObject({
      idleSeconds: z.number().min(1).max(86_400).default(60),
      most: z.number().int().min(1).max(100_000).default(256),
      controls: SequenceControls.optional(),
    })
    .optional(),
  /** Parallel copies of the model; as many as fit the device when unset. */
  instances: z.number().int().min(1).max(64).optional(),
  /** ONNX Runtime's execution providers to try in this order before the CPU, for example `cuda` or `coreml`. */
  providers: z.array(z.string().min(1).max(50)).max(8).optional(),
  /** Longest time of one run in milliseconds; a model that exceeds it is ended with its process. */
  maxRunMs: z.number().int().min(10).max(3_600_000).default(30_000),
  isolation: z.enum(['shared', 'process']).default('shared'),
  /** Bounds on latency and memory, measured on each device before the version answers there. */
  acceptance: Acceptance.optional(),
  /**
   * In a fleet: further files of the version, in the order in which a device prefers them. The plain file is `default`, and the
   * last when it is not named here.
   */
  variants: z.array(ManifestVariant).min(1).max(16).optional(),
  /** How a device picks one of the variants; `first` when unset. */
  select: VariantSelection.optional(),
  /** Keep answers, up to so many bytes, and give them to who sends the same again. For deterministic models only. */
  cache: z.strictObject({ maxBytes: z.number().int().min(1024).max(1_073_741_824) }).optional(),
  capture: CapturePolicy.prefault({}),
  monitoring: z.strictObject({ reference: ReferenceProfile.optional() }).prefault({}),
});
export type Manifest = z.infer<typeof Manifest>;
export type ManifestInput = z.input<typeof Manifest>;

/**
 * The names of all features of a model, input by input: what a recorded row holds, in this order. The order of the inputs
 * is that of the manifest as text; a database that keeps JSON by its meaning may have lost it.
 */
export function featureNames({ inputs }: Pick<Manifest, 'inputs'>): string[] {
  return Object.values(inputs).flatMap(({ features }) => features ?? []);
}

/** Largest manifest that is read, in bytes. */
export const maxManifestBytes = 8 * 1024 * 1024;
