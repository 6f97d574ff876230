import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import type { Death } from './death.ts';
import { ServingProcess } from './serving-process.ts';

it('is started again whatever keeps it from starting, and nobody is blamed for that', { timeout: 60_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'serving-process-'));
  const deaths: Death[] = [];
  let starts = 0;
  const serving = new ServingProcess({
    marker: folder,
    // No such folder: the pid cannot be kept.
    pidPath: join(folder, 'missing', 'serving.pid'),
    writes: pendingWrites(),
    get env() {
      starts++;
      // As a machine without memory or processes does.
      if (starts <= 3) throw Object.assign(new Error('spawn EAGAIN'), { code: 'EAGAIN' });
      return { ...process.env, EDGELOOP_SERVING_CONFIG: JSON.stringify({ agentVersion: '1', journalled: false }) };
    },
    takeRunningNote: () => {
      throw new Error('the note cannot be read');
    },
    silenceMs: 10_000,
    maxRssBytes: 2 ** 40,
    callTimeoutMs: 10_000,
    log: pino({ level: 'silent' }),
  });
  serving.start({
    restore: async (letIn) => letIn(),
    settled: async () => undefined,
    onModelDied: () => undefined,
    onDied: async (death) => {
      deaths.push(death);
      throw new Error('the disk is full');
    },
    onCounts: () => {
      throw new Error('a message that cannot be handled');
    },
    onFeedback: async () => undefined,
    onRepository: async () => undefined,
    onHold: async () => undefined,
  });
  await serving.up(AbortSignal.timeout(30_000));
  expect(deaths).toHaveLength(3);
  for (const death of deaths)
    expect(death).toEqual({ crashed: false, detail: 'it could not be started: spawn EAGAIN', suspects: [] });
  await serving.stop(5000);
  rmSync(folder, { recursive: true });
});
