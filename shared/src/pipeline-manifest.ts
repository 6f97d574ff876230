// Pipelines: models of one version and built-in operations between them, which answer as one model. Tensors have names; each
// is made once, by an input of the pipeline or by a step, and any later step may read it.
import { z } from 'zod';
import { DetectionOutputs } from './detection-manifest.ts';
import { ImageInput } from './image-manifest.ts';
import { Datatype } from './tensors.ts';

const TensorName = z.string().min(1).max(200);
/** Of a file among those of the version. */
const FileName = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,94}\.onnx$/, 'must be the name of an ONNX file of this version');
const Axis = z.number().int().min(-32).max(31);
const Layout = z.enum(['nhwc', 'nchw']);

/** Statistics and errors call a step by its name. */
const named = {
  name: z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/, 'must be letters, digits, ".", "_" or "-"'),
};
/** One tensor becomes another one. */
const single = { ...named, input: TensorName, output: TensorName };

const ModelStep = z.strictObject({
  ...named,
  operation: z.literal('model').optional(),
  model: FileName,
  /** Name of an input of the model -> tensor. */
  inputs: z.record(z.string(), TensorName),
  /** Name of an output of the model -> tensor; those that nobody needs may be left out. */
  outputs: z.record(z.string(), TensorName),
  /** `each`: one run for each row, for models that take one at a time. */
  rows: z.enum(['together', 'each']).optional(),
});
export type ModelStep = z.infer<typeof ModelStep>;

/** Probabilities along an axis; the last one when unset. */
const SoftmaxStep = z.strictObject({ ...single, operation: z.literal('softmax'), axis: Axis.optional() });
const SigmoidStep = z.strictObject({ ...single, operation: z.literal('sigmoid') });
/** Place of the largest value along an axis, which goes; the last one when unset. */
const ArgmaxStep = z.strictObject({ ...single, operation: z.literal('argmax'), axis: Axis.optional() });
/** The `k` largest values along the last axis, the largest first, and their places. */
const TopKStep = z.strictObject({
  ...named,
  operation: z.literal('top-k'),
  input: TensorName,
  k: z.number().int().min(1).max(65_536),
  outputs: z.strictObject({ values: TensorName.optional(), places: TensorName.optional() }),
});
/** Whether each value is at least `from`. */
const ThresholdStep = z.strictObject({ ...single, operation: z.literal('threshold'), from: z.number() });
/** `(value * scale - mean) / std`; with several means or deviations, one for each place along `axis`. */
const ScaleStep = z.strictObject({
  ...single,
  operation: z.literal('scale'),
  scale: z.number().default(1),
  mean: z.array(z.number()).max(65_536).default([]),
  std: z
    .array(z.number().refine((value) => value !== 0, 'must not be 0'))
    .max(65_536)
    .default([]),
  /** The last one when unset. */
  axis: Axis.optional(),
});
/** Of numbers; fractions are cut off, and what the type cannot hold becomes its bound. */
const CastStep = z.strictObject({
  ...single,
  operation: z.literal('cast'),
  to: Datatype.exclude(['BYTES']),
});
/** A part along an axis; `begin` and `end` count from the end when negative. */
const SliceStep = z.strictObject({
  ...single,
  operation: z.literal('slice'),
  axis: Axis,
  begin: z.number().int().default(0),
  end: z.number().int().optional(),
});
/** One place along an axis, which goes. */
const SelectStep = z.strictObject({ ...single, operation: z.literal('select'), axis: Axis, at: z.number().int() });
const ConcatStep = z.strictObject({
  ...named,
  operation: z.literal('concat'),
  inputs: z.array(TensorName).min(2).max(64),
  output: TensorName,
  axis: Axis,
});
/** Of tensors of one shape, as of an ensemble of models. Weights count for their share of all; equal ones when unset. */
const AverageStep = z.strictObject({
  ...named,
  operation: z.literal('average'),
  inputs: z.array(TensorName).min(2).max(64),
  output: TensorName,
  weights: z.array(z.number().min(0)).min(2).max(64).optional(),
});
/** Keeps the rows whose score is at least `from`, at most so many of them, those with the highest scores; in their order. */
const FilterStep = z.strictObject({
  ...named,
  operation: z.literal('filter'),
  /** One score a row, or several, of which the highest counts. */
  scores: TensorName,
  from: z.number(),
  most: z.number().int().min(1).max(1000).default(100),
  /** Tensor -> what it is called with the rows that are kept. */
  keep: z.record(TensorName, TensorName),
  /** How many rows there were before `most` cut them. */
  found: TensorName.optional(),
});
/** Outputs of a detector become boxes, by the rules of `outputs.detection`; edges in pixels, the best first. */
const DetectStep = z.strictObject({
  ...named,
  operation: z.literal('detect'),
  /** Names tensors of the pipeline. */
  detection: DetectionOutputs,
  activation: z.enum(['softmax', 'sigmoid']).optional(),
  /** How many classes there are, where the tensors do not say it. */
  classes: z.number().int().min(1).max(65_536).optional(),
  /** Of a `picture` step: boxes are then those of the picture that it was made of. */
  placement: TensorName.optional(),
  /** Of the picture that the detector sees, where no `placement` says it. */
  size: z
    .strictObject({ width: z.number().int().min(1).max(16_384), height: z.number().int().min(1).max(16_384) })
    .optional(),
  outputs: z.strictObject({
    /** `[n, 4]`: left, top, right, bottom. */
    boxes: TensorName,
    scores: TensorName.optional(),
    classes: TensorName.optional(),
    /** How many boxes there were before `maxDetections` cut them. */
    found: TensorName.optional(),
  }),
});
/** A picture becomes what a model takes. */
const PictureStep = z.strictObject({
  ...single,
  operation: z.literal('picture'),
  /** Of the picture that comes in; `nhwc` when unset. */
  from: Layout.optional(),
  image: ImageInput,
  datatype: z.enum(['FP32', 'UINT8']).default('FP32'),
  /** Where it lies, for `detect`. */
  placement: TensorName.optional(),
});
/** A picture for each box, cut out of one picture. What of a box lies outside of the picture is left out. */
const CropStep = z.strictObject({
  ...named,
  operation: z.literal('crop'),
  picture: TensorName,
  /** `[n, 4]`: left, top, right, bottom, in pixels. */
  boxes: TensorName,
  output: TensorName,
  from: Layout.optional(),
  /** Added at each side, as a share of the box. */
  margin: z.number().min(0).max(4).default(0),
  /** The shorter sides grow until the box is a square. */
  square: z.boolean().optional(),
  image: ImageInput,
  datatype: z.enum(['FP32', 'UINT8']).default('FP32'),
});

const PipelineStep = z.discriminatedUnion(
  'operation',
  [
    ModelStep,
    SoftmaxStep,
    SigmoidStep,
    ArgmaxStep,
    TopKStep,
    ThresholdStep,
    ScaleStep,
    CastStep,
    SliceStep,
    SelectStep,
    ConcatStep,
    AverageStep,
    FilterStep,
    DetectStep,
    PictureStep,
    CropStep,
  ],
  {
    error: ({ code }) =>
      code === 'invalid_union'
        ? 'must be a "model", or have one of the operations softmax, sigmoid, argmax, top-k, threshold, scale, cast, slice, select, concat, average, filter, detect, picture and crop'
        : undefined,
  },
);
export type PipelineStep = z.infer<typeof PipelineStep>;
export type OperationStep<O extends PipelineStep['operation']> = Extract<PipelineStep, { operation: O }>;

export const Pipeline = z.strictObject({
  inputs: z
    .array(
      z.strictObject({
        name: TensorName,
        datatype: Datatype,
        /** -1 is a free dimension. */
        shape: z
          .array(
            z
              .number()
              .int()
              .min(-1)
              .max(2 ** 31 - 1),
          )
          .max(32),
      }),
    )
    .min(1)
    .max(64),
  /** Tensors, which are the outputs of the whole under their names. */
  outputs: z.array(TensorName).min(1).max(64),
  steps: z.array(PipelineStep).min(1).max(64),
});
export type Pipeline = z.infer<typeof Pipeline>;
