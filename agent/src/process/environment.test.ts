import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../config.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { servingEnvironment, servingOptions } from './environment.ts';
import { ServingConfig } from './ipc.ts';
import { placesIn } from './places.ts';
import { clearRunningNote, openRunningNoteSlot } from './running-note.ts';

describe('what the serving process is started with', () => {
  let stateDir: string;
  beforeEach(() => {
    stateDir = mkdtempSync(join(tmpdir(), 'agent-environment-'));
  });
  afterEach(() => rmSync(stateDir, { recursive: true }));
  const start = () =>
    servingEnvironment(readConfig({}), { stateDir, process: 0, tokens: [], journalled: true, writes: pendingWrites() });

  it('says where to note what runs, which is told once to whoever asks after a death', () => {
    const { env, takeRunningNote } = start();
    const { runningNotePath = '' } = ServingConfig.parse(JSON.parse(env.EDGELOOP_SERVING_CONFIG ?? ''));
    expect(takeRunningNote('process')).toEqual([]);
    clearRunningNote(runningNotePath);
    const slot = openRunningNoteSlot(runningNotePath, 0);
    slot.begin('culprit', 4);
    expect(takeRunningNote('process')).toEqual([{ name: 'culprit', version: 4 }]);
    expect(takeRunningNote('process')).toEqual([]);
    slot.close();
  });

  it('is what each of several may take, with files of its own', () => {
    const config = readConfig({ EDGELOOP_SERVING_PROCESSES: '2', EDGELOOP_THREADS: '3', EDGELOOP_MEMORY_MB: '1000' });
    const { processes } = servingOptions(config, { stateDir, journalled: true, writes: pendingWrites(), log: pino() });
    const told = processes.map(({ env }) => ServingConfig.parse(JSON.parse(env.EDGELOOP_SERVING_CONFIG ?? '')));
    expect(told).toMatchObject([0, 1].map((place) => ({ process: { place, of: 2 }, threads: 2 })));
    const paths = [
      ...processes.map(({ pidPath }) => pidPath),
      ...told.flatMap(({ runningNotePath, missingNotePath }) => [runningNotePath, missingNotePath]),
    ];
    expect(new Set(paths).size).toBe(6);
    expect(processes.map(({ maxRssBytes, spareProcess }) => [maxRssBytes, spareProcess])).toEqual(
      [0, 1].map(() => [500 * 1024 * 1024, 'off']),
    );
    // What a former start had besides is still found.
    writeFileSync(join(stateDir, 'serving.pid.4'), '1');
    expect(placesIn(stateDir, 2).map(({ pidPath }) => pidPath)).toHaveLength(4);
    expect(placesIn(join(stateDir, 'missing'), 1)).toHaveLength(1);
  });

  it('leaves nothing of the note as a former version called it', () => {
    writeFileSync(join(stateDir, 'inflight'), JSON.stringify({ name: 'culprit', version: 4 }).padEnd(128));
    expect(start().takeRunningNote('process')).toEqual([]);
    expect(existsSync(join(stateDir, 'inflight'))).toBe(false);
  });
});
