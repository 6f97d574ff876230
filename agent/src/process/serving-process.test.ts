import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, it, vi } from 'vitest';
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

it('says with which words on stderr it crashed, without secrets', { timeout: 60_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'serving-process-'));
  const preload = join(folder, 'crash.cjs');
  writeFileSync(
    preload,
    `if (process.env.CRASH) setTimeout(() => {
      process.stderr.write("terminate called\\nAPI_TOKEN=hunter2\\n", () => process.kill(process.pid, 'SIGABRT'));
    }, 100);`,
  );
  const deaths: Death[] = [];
  let starts = 0;
  const serving = new ServingProcess({
    marker: folder,
    pidPath: join(folder, 'serving.pid'),
    writes: pendingWrites(),
    get env() {
      starts++;
      const config = JSON.stringify({ agentVersion: '1', journalled: false });
      const crash = starts === 1 ? { CRASH: 'yes', NODE_OPTIONS: `--require ${preload}` } : {};
      return { ...process.env, ...crash, EDGELOOP_SERVING_CONFIG: config };
    },
    takeRunningNote: () => [{ name: 'm', version: 3 }],
    silenceMs: 20_000,
    maxRssBytes: 2 ** 40,
    callTimeoutMs: 10_000,
    log: pino({ level: 'silent' }),
  });
  serving.start({
    restore: async (letIn) => letIn(),
    settled: async () => undefined,
    onModelDied: () => undefined,
    onDied: async (death) => void deaths.push(death),
    onCounts: () => undefined,
    onFeedback: async () => undefined,
    onRepository: async () => undefined,
    onHold: async () => undefined,
  });
  await vi.waitFor(() => expect(deaths.length).toBeGreaterThan(0), { timeout: 40_000 });
  expect(deaths[0]).toEqual({
    crashed: true,
    detail: 'it was ended by SIGABRT: terminate called | API_TOKEN=[left out]',
    suspects: [{ name: 'm', version: 3 }],
  });
  await serving.stop(5000);
  rmSync(folder, { recursive: true });
});
