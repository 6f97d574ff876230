// What `model.json` says of detectors and of models that mark every pixel.
import { z } from 'zod';

const Strides = z.array(z.number().int().min(1).max(1024)).min(1).max(8).optional();
const Bins = z.number().int().min(2).max(64).optional();
const Anchors = z.array(z.number().positive()).min(2).max(32);

/**
 * The arithmetic that a detector's own program does after the model, where the export leaves it out. Each number of pixels
 * in `strides` stands for a grid over the model's input. The defaults are those of the published models.
 */
export const DetectionHead = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('yolox'), strides: Strides }),
  z.strictObject({
    kind: z.literal('yolov5'),
    strides: Strides,
    /** For each stride widths and heights in turn, in pixels of the input. */
    anchors: z.array(Anchors).min(1).max(8).optional(),
  }),
  /** `offset`: where in its cell a box is centred; 0 for NanoDet-Plus, 0.5 for the first NanoDet. */
  z.strictObject({
    kind: z.literal('nanodet'),
    strides: Strides,
    bins: Bins,
    offset: z.number().min(0).max(1).optional(),
  }),
  z.strictObject({ kind: z.literal('yolov8'), strides: Strides, bins: Bins }),
  z.strictObject({ kind: z.literal('fastestdet'), strides: Strides }),
]);
export type DetectionHead = z.infer<typeof DetectionHead>;

const Keypoints = z
  .strictObject({
    names: z.array(z.string().min(1).max(200)).min(1).max(1000).optional(),
    /** In the place of names. */
    count: z.number().int().min(1).max(1000).optional(),
    /** Each point has a score behind its two coordinates; it has when unset. */
    scored: z.boolean().optional(),
  })
  .refine(({ names, count }) => (names === undefined) !== (count === undefined), 'give "names" or "count"');

/** How the outputs of a detector become boxes. They are in tensors of their own, in one `table`, or in `maps`. */
export const DetectionOutputs = z
  .strictObject({
    /** Output with four numbers a box. */
    boxes: z.string().optional(),
    /** Output with a score per class for each box, or one score a box. */
    scores: z.string().optional(),
    /** Output with the class of each box, for models that give one score a box. */
    classes: z.string().optional(),
    /** Output with everything, a row or a column for each box: its four numbers, then what `columns` says. */
    table: z.string().optional(),
    /** Output of a pipeline that says how many boxes there were before a step of it cut them. */
    found: z.string().optional(),
    /** For a `head`: an output for each of its strides, in their order; or for each several, whose numbers stand one behind the other. */
    maps: z.array(z.string()).min(1).max(24).optional(),
    /** What is to be done to the table or the maps, in the place of `columns`, `format` and `normalised`. */
    head: DetectionHead.optional(),
    /** A score for each class (when unset); before them a score of any object, to multiply with; or one score and the class. */
    columns: z.enum(['scores', 'objectness', 'class']).optional(),
    /** `xyxy` when unset. */
    format: z.enum(['xyxy', 'cxcywh', 'yxyx']).optional(),
    /** Coordinates from 0 to 1 (when unset) rather than in pixels of the model's input. */
    normalised: z.boolean().optional(),
    scoreThreshold: z.number().min(0).max(1).default(0.5),
    /** Of two boxes of one class that overlap more than this, the one with the lower score is left out. */
    iouThreshold: z.number().min(0).max(1).default(0.45),
    maxDetections: z.number().int().min(1).max(1000).default(100),
    /** One box may be several classes; unless it is unset, and the program that came with the `head` takes the best only. */
    multiLabel: z.boolean().optional(),
    /** Place of the class that means "nothing here". */
    background: z.number().int().min(0).optional(),
    /** Behind the scores: factors of the prototypes, which are an output of their own. */
    masks: z.strictObject({ prototypes: z.string() }).optional(),
    /** Behind the scores: points of the body, for example. */
    keypoints: Keypoints.optional(),
  })
  .refine(
    ({ boxes, scores, classes, table, maps }) =>
      [boxes ?? scores ?? classes, table, maps].filter((each) => each !== undefined).length === 1 &&
      (boxes === undefined) === (scores === undefined) &&
      (classes === undefined || boxes !== undefined),
    'name either "table", the one output with everything, or "maps", or "boxes" and "scores"',
  )
  .refine(({ head, maps }) => head !== undefined || maps === undefined, '"maps" are for a "head"')
  .refine(({ head, boxes }) => head === undefined || boxes === undefined, 'a "head" reads a "table" or "maps"')
  .refine(
    ({ head, columns, format, normalised }) =>
      head === undefined || (columns === undefined && format === undefined && normalised === undefined),
    'a "head" says itself what "columns", "format" and "normalised" would',
  )
  .refine(
    ({ masks, keypoints, table, maps }) =>
      (masks === undefined && keypoints === undefined) ||
      ((table ?? maps) !== undefined && (masks === undefined || keypoints === undefined)),
    'either "masks" or "keypoints" stand in a "table" or in "maps"',
  )
  .refine(
    ({ masks, head }) => masks === undefined || head === undefined || head.kind === 'yolov5' || head.kind === 'yolov8',
    '"masks" behind a "head" are those of yolov5 and yolov8',
  )
  .refine(
    ({ keypoints, head }) => keypoints === undefined || head === undefined || head.kind === 'yolov8',
    '"keypoints" behind a "head" are those of yolov8',
  );
export type DetectionOutputs = z.infer<typeof DetectionOutputs>;

/** An output that says of every pixel what is there. */
export const SegmentationOutputs = z.strictObject({
  /** Scores or logits of the classes, one score alone, or the classes themselves as integers. */
  output: z.string(),
  /** Where the classes stand in its shape; `nchw` when unset. */
  layout: z.enum(['nchw', 'nhwc']).optional(),
  /** From here on a pixel belongs, where there is one score alone; 0.5 when unset. */
  threshold: z.number().optional(),
  /** Place of the class that is not told. */
  background: z.number().int().min(0).optional(),
});
export type SegmentationOutputs = z.infer<typeof SegmentationOutputs>;
