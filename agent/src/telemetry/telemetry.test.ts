// The whole room on a database that has no room left: windows go before samples, and nothing is lost without a word.
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Manifest } from '@edgeloop/shared/manifest';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { until } from '../../../test/support/until.ts';
import { openDatabase } from '../database/open.ts';
import { Problems } from '../problems.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { encodeRecord } from './record.ts';
import { createTelemetry } from './telemetry.ts';

const log = pino({ level: 'silent' });
const manifest = Manifest.parse({ inputs: { x: { features: ['a', 'b'] } }, capture: { rate: 1 } });
const record = { model: 'm', version: 1, outcome: 'ok' as const, latencyMs: 2, rows: 1 };

it('gives up samples for windows on a full disk, and counts them', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'agent-telemetry-'));
  const database = openDatabase(join(folder, 'agent.db'), log);
  const model = join(folder, 'model');
  mkdirSync(model);
  writeFileSync(join(model, 'model.json'), JSON.stringify(manifest));
  const ending = new AbortController();
  let written = '';
  let told = 0;
  const telemetry = createTelemetry({
    ...{ dataDir: folder, journal: 'disk', cleanStop: true, notePaths: [join(folder, 'note')], database, log },
    ...{ writes: pendingWrites(), problems: new Problems(log), bufferBytes: 1e7, bufferMs: 1e10, captureBytes: 1e8 },
    ...{ windowMs: 50, windowMostMs: 50, monthlyBudgetBytes: undefined, dailyWritesBudgetBytes: undefined },
    folderOf: () => model,
    switchJournal: async (path) => {
      written = path;
      writeFileSync(path, '');
    },
    publish: () => false,
    onLost: () => told++,
    port: () => undefined,
  });
  const answer = (count: number, from: number) => {
    const records = Array.from({ length: count }, (_, at) =>
      encodeRecord({
        ...record,
        inferenceId: `r${from + at}`,
        at: Date.now(),
        features: Float32Array.of(Math.random(), at),
      }),
    );
    appendFileSync(written, Buffer.concat(records));
  };
  try {
    await telemetry.recover();
    await telemetry.opened(0);
    answer(40_000, 0);
    await telemetry.flush();
    const before = telemetry.status().pendingItems;
    expect(before).toBeGreaterThan(0);
    const pages = Number(database.$client.pragma('page_count', { simple: true }));
    database.$client.pragma(`max_page_count = ${pages}`);
    answer(20_000, 40_000);
    telemetry.start(ending.signal);
    await until('the window is kept', async () => telemetry.status().pendingItems > before || undefined);
    await until('the loss is told', async () => told > 0 || undefined);
    const given = telemetry.lost().find(({ kind, reason }) => kind === 'sample' && reason === 'disk')?.count ?? 0;
    const kept = database.$client.prepare('SELECT sum(count) FROM sample_blocks').pluck().get();
    expect(given).toBeGreaterThan(0);
    expect(given + Number(kept)).toBe(60_000);
  } finally {
    ending.abort();
    await telemetry.close();
    database.$client.close();
    rmSync(folder, { recursive: true });
  }
});
