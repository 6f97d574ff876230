// Telemetry as it travels: numbered items, windows of one model version and labels of earlier predictions.
import { z } from 'zod';
import { Instant, ModelName, ModelVersion, Sha256 } from './identifiers.ts';
import { LabelledOutcomes } from './labelled-outcomes.ts';
import { ResourceUsage } from './resource-usage.ts';
import { CategoryCounts } from './sketches/category-counts.ts';
import { QuantileSketch } from './sketches/ddsketch.ts';
import { Histogram } from './sketches/histogram.ts';
import { ValueSketch } from './sketches/value-sketch.ts';

const Count = z.number().int().min(0);

/** How a version that ran as a shadow compares with the one that answered, on the same inputs. */
export const ShadowWindow = z.object({
  /** What answered. */
  version: ModelVersion,
  release: Sha256.optional(),
  /** Rows of which both have an answer, and of these the ones with the same. */
  compared: Count,
  agreed: Count,
  /** Runs of the shadow that failed, by error code. */
  failed: z.record(z.string(), Count),
  /** Answers that were not compared, since its bounds left no room for it. */
  skipped: Count,
  /** By how much scores of a row differ. */
  difference: QuantileSketch,
  /** Milliseconds of a run: the shadow's, and those of what answered. */
  latencyMs: QuantileSketch,
  formerMs: QuantileSketch,
});
export type ShadowWindow = z.infer<typeof ShadowWindow>;

/** What one device saw of one model version between two instants. Windows of the same model version can be merged. */
export const Window = z.object({
  kind: z.literal('window'),
  model: ModelName,
  version: ModelVersion,
  /** SHA-256 of the release document: which bytes ran. Absent from agents that did not say it yet. */
  release: Sha256.optional(),
  /** Of a version with several: which one answered. */
  variant: z.string().max(100).optional(),
  startedAt: Instant,
  endedAt: Instant,
  /** Requests answered with a result. */
  succeeded: Count,
  /** Requests that the agent or the model failed, by error code. */
  failed: z.record(z.string(), Count),
  /** Requests refused because the caller's input was wrong. */
  invalid: Count,
  /** Rows inferred. */
  rows: Count,
  /** Milliseconds from the whole request read to the answer ready, of succeeded requests. */
  latencyMs: QuantileSketch,
  /** Per feature with a reference, a sample of the rows. */
  features: z.record(z.string(), Histogram),
  confidence: Histogram.optional(),
  /** Predicted classes. */
  classes: z.record(z.string(), Count),
  /** Set when the window was cut short by a death of the process or rebuilt after one. */
  recovered: z.boolean().optional(),
  /** Set by the server where the device's clock was off: what it said, and how far that was from the server's clock. */
  deviceClock: z.object({ startedAt: Instant, endedAt: Instant, offsetMs: z.number().int() }).optional(),
  /** Set when the version answered nobody: then all counts of answers above are 0. */
  shadow: ShadowWindow.optional(),
  // What follows is put together by `window-parts.ts`; former agents send none of it.
  /** Milliseconds that succeeded requests waited for a thread, and rows of each run. */
  queueMs: QuantileSketch.optional(),
  batchRows: QuantileSketch.optional(),
  /** Of how many rows features were looked at, and of how many requests the other signals. Counts of requests are of all. */
  sampled: z.object({ features: Count, requests: Count }).optional(),
  /**
   * Values by name that have no bins from a reference: a feature under its own name, `input:NAME:brightness` of pictures,
   * `input:NAME:loudness` of sounds, `input:NAME:mean` of other tensors, `output:entropy`, `output:value`, `output:boxes`, …
   */
  signals: z.record(z.string(), ValueSketch).optional(),
  /** Texts by name: features that are no numbers, and `output:box-classes` of detectors. */
  categories: z.record(z.string(), CategoryCounts).optional(),
  /** Labels that came while the window was open, of predictions of any time. */
  labelled: LabelledOutcomes.optional(),
  /** The machine, of all windows of a device the same. */
  resources: ResourceUsage.optional(),
});
export type Window = z.infer<typeof Window>;

/** The truth of one earlier prediction. */
export const LabelledPrediction = z.object({
  inferenceId: z.string().min(1).max(200),
  model: ModelName,
  version: ModelVersion,
  release: Sha256.optional(),
  predictedAt: Instant,
  predicted: z.string(),
  label: z.string(),
  labelledAt: Instant,
});
export type LabelledPrediction = z.infer<typeof LabelledPrediction>;

export const LabelBatch = z.object({ kind: z.literal('labels'), labels: z.array(LabelledPrediction).min(1).max(500) });
export type LabelBatch = z.infer<typeof LabelBatch>;

/** What was lost since the last such item: dropped because the buffer was full, or never recorded because the disk was. */
export const Loss = z.object({ kind: z.literal('loss'), windows: Count, requests: Count, labels: Count });
export type Loss = z.infer<typeof Loss>;

export const TelemetryItem = z.discriminatedUnion('kind', [Window, LabelBatch, Loss]);
export type TelemetryItem = z.infer<typeof TelemetryItem>;

/**
 * Items in the order of their numbers, from the lowest that is not acknowledged. `epoch` is of one start of one agent, near the
 * instant of that start: each start counts from 1, also where its disk is a copy of another's. An item is stored once
 * per (device, epoch, sequence).
 */
export const TelemetryBatch = z.object({
  epoch: Instant,
  items: z
    .array(
      z.object({
        sequence: z.number().int().min(1),
        item: TelemetryItem,
        /** How far the clock that dated the item was from the server's (positive: ahead); absent while nobody had compared them. */
        clockOffsetMs: z.number().int().optional(),
      }),
    )
    .min(1)
    .max(1000),
});
export type TelemetryBatch = z.infer<typeof TelemetryBatch>;

/** Largest batch, in bytes of its JSON. */
export const maxBatchBytes = 4 * 1024 * 1024;

/**
 * Everything of `epoch` up to and including `sequence` is stored durably. `accepts`: in which forms batches may come beside
 * plain JSON; with `gzip` the payload may be JSON that was compressed.
 */
export const TelemetryAck = z.object({
  epoch: Instant,
  sequence: z.number().int().min(0),
  accepts: z.array(z.string().max(20)).max(20).optional(),
  /** How long to wait until the next one, where the server has more than it can take. */
  retryAfterMs: z.number().int().min(0).max(3_600_000).optional(),
});
export type TelemetryAck = z.infer<typeof TelemetryAck>;

/** What another version says to the same input. */
export const OtherPrediction = z.object({
  version: ModelVersion,
  release: Sha256.optional(),
  predicted: z.string().optional(),
  score: z.number().optional(),
});
export type OtherPrediction = z.infer<typeof OtherPrediction>;

/** An input with its prediction, kept for training. `features` are in the order of the manifest's feature names. */
export const CapturedSample = z.object({
  inferenceId: z.string().min(1).max(200),
  model: ModelName,
  version: ModelVersion,
  release: Sha256.optional(),
  predictedAt: Instant,
  /** As of items of a batch: how far the clock that dated it was from the server's. */
  clockOffsetMs: z.number().int().optional(),
  /** `disagreement`: a version that ran beside it as a shadow says otherwise. */
  reason: z.enum(['rate', 'low_confidence', 'labelled', 'disagreement']),
  features: z.array(z.number().nullable()).max(65536),
  predicted: z.string().optional(),
  score: z.number().optional(),
  label: z.string().optional(),
  /** What the shadow says, of a disagreement. */
  other: OtherPrediction.optional(),
});
export type CapturedSample = z.infer<typeof CapturedSample>;

/** Body of `POST /device/v1/captures`; stored once per inference id and device. */
export const CaptureUpload = z.object({ samples: z.array(CapturedSample).min(1).max(1000) });
export type CaptureUpload = z.infer<typeof CaptureUpload>;
