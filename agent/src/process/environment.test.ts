import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../config.ts';
import { pendingWrites } from '../storage/pending-writes-fixture.ts';
import { servingEnvironment } from './environment.ts';
import { ServingConfig } from './ipc.ts';
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

  it('leaves nothing of the note as a former version called it', () => {
    writeFileSync(join(stateDir, 'inflight'), JSON.stringify({ name: 'culprit', version: 4 }).padEnd(128));
    expect(start().takeRunningNote('process')).toEqual([]);
    expect(existsSync(join(stateDir, 'inflight'))).toBe(false);
  });
});
