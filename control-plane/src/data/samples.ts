// Samples and labels from the field.
import type { LabelsCreate, Sample } from '@edgeloop/shared/api/data';
import { DatasetBuild } from '@edgeloop/shared/api/data';
import type { Page } from '@edgeloop/shared/api/paging';
import type { CaptureUpload } from '@edgeloop/shared/telemetry';
import { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import type { Database } from '../database/open.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import { isHeldOut, type LabelledRows, pack } from './rows.ts';
import type { SampleStore } from './sample-store.ts';

export interface SamplesDeps {
  database: Database;
  sampleStore: SampleStore;
  now: () => number;
  /** Feature names of a model version's newest manifest, in the order of captured samples. */
  featuresOf: (model: string) => Promise<string[]>;
}

export interface SampleList {
  model?: string | undefined;
  labelled?: 'true' | 'false' | undefined;
  cursor?: string | undefined;
  limit: number;
}

const SampleCursor = z.object({ predictedAt: z.number(), inferenceId: z.string() });

export function createSamples({ database, sampleStore, now, featuresOf }: SamplesDeps) {
  return {
    /** Stores what a device captured; storing it again changes nothing. */
    async capture(deviceId: string, { samples }: CaptureUpload): Promise<number> {
      await database.transact((tx) => sampleStore.insertSamples(tx, deviceId, samples, now()));
      return samples.length;
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

    /** Labels samples by inference id, and says which ids are unknown. */
    async label(
      actor: string,
      { labels }: z.infer<typeof LabelsCreate>,
    ): Promise<{ stored: number; unknown: string[] }> {
      return database.transact(async (tx) => {
        const unknown: string[] = [];
        for (const { inferenceId, label } of labels) {
          if (!(await sampleStore.label(tx, inferenceId, label, now()))) unknown.push(inferenceId);
        }
        const stored = labels.length - unknown.length;
        await recordAudit(database.tables, tx, {
          at: now(),
          actor,
          action: 'labels.create',
          subject: 'labels',
          after: { stored, unknown: unknown.length },
        });
        return { stored, unknown };
      });
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
