// SQL of captured samples and their labels.
import type { Sample } from '@edgeloop/shared/api/data';
import { parse } from '@edgeloop/shared/errors';
import { CapturedSample, OtherPrediction } from '@edgeloop/shared/telemetry';
import { and, count, desc, eq, gte, isNotNull, isNull, lt, lte, or, sql } from 'drizzle-orm';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

export interface FieldQuery {
  model: string;
  from: number;
  to: number;
  maxRows: number;
}

/** A place in the list of samples, newest first. */
export interface SamplePosition {
  predictedAt: number;
  inferenceId: string;
}

/** A sample with its values. */
export interface FieldSample {
  deviceId: string;
  inferenceId: string;
  version: number;
  predictedAt: number;
  reason: string;
  values: Float32Array;
  predicted: string | null;
  label: string | null;
}

/** What was true of an inference. */
export interface Truth {
  inferenceId: string;
  /** Undefined: whoever has used the id. */
  deviceId?: string | undefined;
  label: string;
  labelledAt: number;
}

export type SampleStore = ReturnType<typeof createSampleStore>;

export function createSampleStore({ samples, labels }: Schema) {
  /** A label with the sample wins over one that came with telemetry. */
  const label = sql<string | null>`coalesce(${samples.label}, ${labels.label})`;
  const sameInference = and(
    eq(labels.deviceId, samples.deviceId),
    eq(labels.inferenceId, samples.inferenceId),
    eq(labels.model, samples.model),
    isNull(labels.foreignRelease),
  );

  const isOf = (
    table: typeof samples | typeof labels,
    { inferenceId, deviceId }: Pick<Truth, 'inferenceId' | 'deviceId'>,
  ) => and(eq(table.inferenceId, inferenceId), deviceId === undefined ? undefined : eq(table.deviceId, deviceId));

  return {
    /** Stores samples once per device and inference; a repeated one can only add its label. */
    async insertSamples(
      tx: Transaction,
      deviceId: string,
      captured: readonly CapturedSample[],
      receivedAt: number,
    ): Promise<void> {
      for (const sample of captured) {
        await tx
          .insert(samples)
          .values({
            deviceId,
            inferenceId: sample.inferenceId,
            model: sample.model,
            version: sample.version,
            predictedAt: sample.predictedAt,
            receivedAt,
            reason: sample.reason,
            features: floatsToBytes(sample.features),
            predicted: sample.predicted ?? null,
            score: sample.score ?? null,
            label: sample.label ?? null,
            other: sample.other ?? null,
          })
          .onConflictDoUpdate({
            target: [samples.deviceId, samples.inferenceId],
            set: {
              label: sql`coalesce(excluded.label, ${samples.label})`,
              // It was sent for another reason before its shadow had said otherwise.
              reason: sql`case when excluded.other is null then ${samples.reason} else excluded.reason end`,
              other: sql`coalesce(excluded.other, ${samples.other})`,
            },
          });
      }
    },

    /**
     * Sets the label of what is known of an inference. Without `deviceId` only when one device has used the id: the truth of
     * one device's input must not label another's.
     */
    /** The model whose prediction it was, or why it was none. */
    async label(tx: Transaction, truth: Truth): Promise<{ model: string | undefined } | 'unknown' | 'ambiguous'> {
      const { inferenceId, label: text, labelledAt } = truth;
      const sampled = await tx.select({ deviceId: samples.deviceId }).from(samples).where(isOf(samples, truth));
      const users =
        sampled.length > 0
          ? sampled
          : await tx.select({ deviceId: labels.deviceId }).from(labels).where(isOf(labels, truth));
      const [user] = users;
      if (user === undefined) return 'unknown';
      if (users.length > 1) return 'ambiguous';
      const meant = { inferenceId, deviceId: user.deviceId };
      const [sample] = await tx.update(samples).set({ label: text }).where(isOf(samples, meant)).returning();
      if (sample === undefined) {
        const [row] = await tx.update(labels).set({ label: text, labelledAt }).where(isOf(labels, meant)).returning();
        return { model: row?.model };
      }
      if (sample.predicted !== null) {
        const { model, version, predictedAt, predicted } = sample;
        await tx
          .insert(labels)
          .values({ ...meant, model, version, predictedAt, predicted, label: text, labelledAt })
          .onConflictDoUpdate({
            target: [labels.deviceId, labels.inferenceId],
            set: { label: text, labelledAt },
          });
      }
      return { model: sample.model };
    },

    /** Newest first, at most `limit + 1`. */
    async listSamples(
      read: Reader,
      query: {
        model?: string | undefined;
        labelled?: boolean | undefined;
        after?: SamplePosition | undefined;
        limit: number;
      },
    ): Promise<Sample[]> {
      const { model, labelled, after } = query;
      const rows = await read
        .select({ sample: samples, label })
        .from(samples)
        .leftJoin(labels, sameInference)
        .where(
          and(
            model === undefined ? undefined : eq(samples.model, model),
            labelled === undefined
              ? undefined
              : labelled
                ? or(isNotNull(samples.label), isNotNull(labels.label))
                : and(isNull(samples.label), isNull(labels.label)),
            after === undefined
              ? undefined
              : or(
                  lt(samples.predictedAt, after.predictedAt),
                  and(eq(samples.predictedAt, after.predictedAt), lt(samples.inferenceId, after.inferenceId)),
                ),
          ),
        )
        .orderBy(desc(samples.predictedAt), desc(samples.inferenceId))
        .limit(query.limit + 1);
      return rows.map(({ sample, label: truth }) => ({
        inferenceId: sample.inferenceId,
        deviceId: sample.deviceId,
        model: sample.model,
        version: sample.version,
        predictedAt: sample.predictedAt,
        reason: parse(CapturedSample.shape.reason, sample.reason, 'samples.reason', 'internal'),
        other: parse(OtherPrediction.nullable(), sample.other, 'samples.other', 'internal'),
        predicted: sample.predicted,
        score: sample.score,
        label: truth,
      }));
    },

    /** Samples of predictions in [`from`, `to`), newest first, that come behind `after`. */
    async fieldSamples(
      read: Reader,
      query: { model: string; from: number; to: number; after: FieldSample | undefined; limit: number },
    ): Promise<FieldSample[]> {
      const { model, from, to, after, limit } = query;
      const { predictedAt, inferenceId, deviceId } = samples;
      const isBehind =
        after &&
        or(
          lt(predictedAt, after.predictedAt),
          lt(inferenceId, after.inferenceId),
          and(eq(inferenceId, after.inferenceId), lt(deviceId, after.deviceId)),
        );
      const rows = await read
        .select({ sample: samples, label })
        .from(samples)
        .leftJoin(labels, sameInference)
        .where(
          and(
            eq(samples.model, model),
            gte(predictedAt, from),
            // Those of the same instant are told apart by the rest; the bound lets the index begin where the page does.
            after === undefined ? lt(predictedAt, to) : and(lte(predictedAt, after.predictedAt), isBehind),
          ),
        )
        .orderBy(desc(predictedAt), desc(inferenceId), desc(deviceId))
        .limit(limit);
      return rows.map(({ sample, label: truth }) => ({
        ...{ deviceId: sample.deviceId, inferenceId: sample.inferenceId, version: sample.version },
        ...{ predictedAt: sample.predictedAt, reason: sample.reason, predicted: sample.predicted },
        ...{ values: bytesToFloats(sample.features), label: truth },
      }));
    },

    async countLabelled(read: Reader, { model, from }: { model: string; from: number }): Promise<number> {
      const [row] = await read
        .select({ count: count() })
        .from(samples)
        .leftJoin(labels, sameInference)
        .where(
          and(
            eq(samples.model, model),
            gte(samples.predictedAt, from),
            or(isNotNull(samples.label), isNotNull(labels.label)),
          ),
        );
      return row?.count ?? 0;
    },

    /** Values of the newest samples in the range, labelled or not, oldest first. */
    async fieldValues(read: Reader, { model, from, to, maxRows }: FieldQuery): Promise<Float32Array[]> {
      const rows = await read
        .select({ features: samples.features })
        .from(samples)
        .where(and(eq(samples.model, model), gte(samples.predictedAt, from), lte(samples.predictedAt, to)))
        .orderBy(desc(samples.predictedAt), desc(samples.inferenceId))
        .limit(maxRows);
      return rows.reverse().map((row) => bytesToFloats(row.features));
    },

    /** The newest labelled samples in the range, oldest first. */
    async labelledSamples(
      read: Reader,
      { model, from, to, maxRows }: FieldQuery,
    ): Promise<{ values: Float32Array; label: string }[]> {
      const rows = await read
        .select({ features: samples.features, label })
        .from(samples)
        .leftJoin(labels, sameInference)
        .where(
          and(
            eq(samples.model, model),
            gte(samples.predictedAt, from),
            lte(samples.predictedAt, to),
            or(isNotNull(samples.label), isNotNull(labels.label)),
          ),
        )
        .orderBy(desc(samples.predictedAt), desc(samples.inferenceId))
        .limit(maxRows);
      return rows.reverse().map((row) => ({ values: bytesToFloats(row.features), label: row.label ?? '' }));
    },
  };
}

function floatsToBytes(values: (number | null)[]): Buffer {
  const floats = Float32Array.from(values, (value) => value ?? Number.NaN);
  return Buffer.from(floats.buffer);
}

function bytesToFloats(bytes: Buffer): Float32Array {
  return new Float32Array(Uint8Array.from(bytes).buffer);
}
