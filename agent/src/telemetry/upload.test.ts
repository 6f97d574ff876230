import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import { Manifest } from '@edgeloop/shared/manifest';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { until } from '../../../test/support/until.ts';
import { openDatabase } from '../database/open.ts';
import { createDeviceClock } from './device-clock.ts';
import { readGivenUp } from './given-up.ts';
import { createSamples } from './samples.ts';
import { savingOf } from './saving.ts';
import { keepUploading } from './upload.ts';

const log = pino({ level: 'silent' });
const manifest = Manifest.parse({ capture: { rate: 1 } });
const answer = { model: 'm', version: 1, at: 1, outcome: 'ok' as const, latencyMs: 1, rows: 1 };

it('waits until windows are sent, and counts what the control plane refuses', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'agent-upload-'));
  const database = openDatabase(join(folder, 'agent.db'), log);
  const samples = createSamples({ database, budgetBytes: 1e6, waitMs: 0, manifestOf: () => manifest, log });
  database.transaction((transaction) =>
    samples.keep(
      transaction,
      ['a', 'b', 'c'].map((inferenceId) => ({ ...answer, inferenceId, features: Float32Array.of(1) })),
    ),
  );
  const ending = new AbortController();
  let windows = 3;
  const asked: number[] = [];
  const uploading = keepUploading(
    {
      samples,
      log,
      everyMs: 1,
      usage: { saving: () => savingOf({ sent: undefined, sentOfAll: undefined, written: undefined }), sent: () => {} },
      clock: createDeviceClock(Date.now, performance.now.bind(performance)),
      isBehind: () => windows-- > 0,
      port: () => ({
        async send() {
          asked.push(windows);
          throw new AppError('invalid_request', 'none of ours');
        },
        useTls: () => {},
        close: async () => {},
      }),
    },
    ending.signal,
  );
  const refused = () => readGivenUp(database, 0).find(({ reason }) => reason === 'refused')?.count;
  await until('they are refused', async () => refused() === 3 || undefined, { everyMs: 5 });
  await until('all is tried', async () => windows < -3 || undefined, { everyMs: 5 });
  ending.abort();
  await uploading;
  expect(asked).toEqual([-1]);
  expect(samples.ready(Date.now())).toEqual([]);
  database.$client.close();
  rmSync(folder, { recursive: true });
});
