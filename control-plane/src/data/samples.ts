// Samples and labels from the field.
import type { LabelsCreate, LabelsResult, Sample } from '@edgeloop/shared/api/data';
import { DatasetBuild } from '@edgeloop/shared/api/data';
import type { Page } from '@edgeloop/shared/api/paging';
import { Counter, type Registry } from 'prom-client';
import { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import type { Database } from '../database/open.ts';
import type { Claims } from '../fleet/fleet.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import {
  type Captured,
  type CaptureResult,
  disregardedOf,
  noneLeft,
  readCaptured,
  refusalOf,
  versionKey,
} from './captured.ts';
import { isHeldOut, type LabelledRows, pack } from './rows.ts';
import type { FieldSample, SampleStore } from './sample-store.ts';

export interface SamplesDeps {
  database: Database;
  sampleStore: SampleStore;
  now: () => number;
  /** Feature names of a model version's newest manifest, in the order of captured samples. */
  featuresOf: (model: string) => Promise<string[]>;
  /** How many values a sample of the version has; undefined when there is no such version. */
  featureCount: (model: string, version: number) => Promise<number | undefined>;
  /** Which of what devices say counts. */
  claims: Claims;
  /** Hears, once they are stored, of which models there are new labels. */
  labelled: (models: ReadonlySet<string>) => void;
  /** Prometheus metrics of the process. */
  metrics: Registry;
}

export interface SampleList {
  model?: string | undefined;
  labelled?: 'true' | 'false' | undefined;
  cursor?: string | undefined;
  limit: number;
}

const SampleCursor = z.object({ predictedAt: z.number(), inferenceId: z.string() });

export function createSamples({ database, sampleStore, now, featuresOf, ...deps }: SamplesDeps) {
  const refusedTotal = new Counter({
    name: 'edgeloop_samples_refused_total',
    help: 'Captured samples that were refused, by why',
    labelNames: ['reason'],
    registers: [deps.metrics],
  });

  return {
    /**
     * Stores what a device captured; storing it again changes nothing. What cannot be true is refused, sample by sample.
     * @throws AppError `invalid_request` when none is left: an agent does not send those again
     */
    async capture(deviceId: string, upload: { samples: readonly unknown[] }): Promise<CaptureResult> {
      const captured = upload.samples.map((each, index) => readCaptured(each, { index, deviceId }));
      const counts = await featureCountsOf(captured, deps.featureCount);
      const at = now();
      const refused = await database.transact(async (tx) => {
        const verdictOf = await deps.claims.judge(
          tx,
          captured.flatMap(({ claim }) => claim ?? []),
        );
        const judged = captured.map((each) => ({ ...each, refusal: refusalOf(each, { verdictOf, counts, now: at }) }));
        const good = judged.flatMap(({ sample, refusal }) => (refusal === undefined ? (sample ?? []) : []));
        await sampleStore.insertSamples(tx, deviceId, good, at);
        const bad = judged.flatMap(({ refusal }) => refusal ?? []);
        await deps.claims.disregard(tx, disregardedOf(deviceId, bad));
        return bad;
      });
      for (const { reason } of refused) refusedTotal.inc({ reason });
      if (refused.length === captured.length) throw noneLeft(refused);
      return { stored: captured.length - refused.length, refused };
    },

    async samples(query: SampleList): Promise<Page<Sample>> {
      const after = decodeCursor(SampleCursor, query.cursor);
      const labelled = query.labelled === undefined ? undefined : query.labelled === 'true';
      const rows = await sampleStore.listSamples(database.read, {
        model: query.model,
        labelled,
        after,
        limit: query.limit,
      });
      return toPage(rows, query.limit, ({ predictedAt, inferenceId }) => ({ predictedAt, inferenceId }));
    },

    /** Labels samples by inference id; says which ids are unknown, and which ones several devices have used. */
    async label(actor: string, { labels }: z.infer<typeof LabelsCreate>): Promise<LabelsResult> {
      const models = new Set<string>();
      const result = await database.transact(async (tx) => {
        const ids: LabelsResult = { stored: 0, unknown: [], ambiguous: [] };
        for (const given of labels) {
          const outcome = await sampleStore.label(tx, { ...given, labelledAt: now() });
          if (typeof outcome === 'string') ids[outcome].push(given.inferenceId);
          else {
            ids.stored += 1;
            if (outcome.model !== undefined) models.add(outcome.model);
          }
        }
        await recordAudit(database.tables, tx, {
          at: now(),
          actor,
          action: 'labels.create',
          subject: 'labels',
          after: { stored: ids.stored, unknown: ids.unknown.length, ambiguous: ids.ambiguous.length },
        });
        return ids;
      });
      deps.labelled(models);
      return result;
    },

    /** Samples of predictions in [`from`, `to`) with their values, newest first, page by page. */
    async *fieldSamples(query: {
      model: string;
      from: number;
      to: number;
      pageRows: number;
    }): AsyncGenerator<readonly FieldSample[]> {
      const { pageRows: limit, ...span } = query;
      for (let after: FieldSample | undefined; ; ) {
        const page = await sampleStore.fieldSamples(database.read, { ...span, after, limit });
        if (page.length > 0) yield page;
        after = page.at(-1);
        if (page.length < limit) return;
      }
    },

    /** Labelled samples of predictions made at or after `from`. */
    labelledSince: (model: string, from: number): Promise<number> =>
      sampleStore.countLabelled(database.read, { model, from }),

    /** Field samples of predictions made at or after `from` that no dataset version trains on, oldest first. Labels are empty. */
    async heldOutField(model: string, from: number): Promise<LabelledRows> {
      const features = await featuresOf(model);
      const query = { model, from, to: now(), maxRows: 20_000 };
      const { split } = DatasetBuild.parse({});
      const rows = (await sampleStore.fieldValues(database.read, query)).filter(
        (values) => values.length === features.length && isHeldOut(values, split),
      );
      return pack(
        features,
        rows.map((values) => ({ values, label: '', split: 'test' })),
      );
    },
  };
}

/** By `versionKey`, each version asked for once. */
async function featureCountsOf(
  captured: readonly Captured[],
  featureCount: SamplesDeps['featureCount'],
): Promise<Map<string, number | undefined>> {
  const counts = new Map<string, number | undefined>();
  for (const { claim } of captured) {
    if (claim === undefined || counts.has(versionKey(claim))) continue;
    counts.set(versionKey(claim), await featureCount(claim.model, claim.version));
  }
  return counts;
}
