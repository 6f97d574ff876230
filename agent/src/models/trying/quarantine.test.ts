import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DeviceDatabase, openDatabase } from '../../database/open.ts';
import { pendingWrites } from '../../storage/pending-writes-fixture.ts';
import { type Accused, createQuarantine, type Quarantine } from './quarantine.ts';

const log = pino({ level: 'silent' });
let folder = '';
let database: DeviceDatabase;
let quarantine: Quarantine;
let now = 0;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agent-quarantine-'));
  database = openDatabase(join(folder, 'agent.db'), log);
  now = 1_000_000;
  quarantine = createQuarantine(database, pendingWrites(), () => now);
});
afterEach(() => {
  database.$client.close();
  rmSync(folder, { recursive: true });
});

const accused = (name: string, succeeded = 0, word = 'r1'): Accused => ({
  name,
  version: 1,
  digest: `digest of ${name}`,
  word,
  succeeded,
});

describe('the quarantine of model files', () => {
  it('begins with the second death, and is known to the next process', () => {
    expect(quarantine.blame([accused('a')], 'SIGFPE')).toBeUndefined();
    expect(quarantine.reasonFor('digest of a', 'r1')).toBeUndefined();
    expect(quarantine.blame([accused('a')], 'SIGFPE')).toMatchObject({ name: 'a', version: 1 });
    const again = createQuarantine(database, pendingWrites(), () => now);
    expect(again.reasonFor('digest of a', 'r1')?.message).toMatch(/^quarantined: .* 2 times .* SIGFPE$/);
  });

  it('is not for those who happened to run beside, and picks whom it cannot tell apart by its few answers', () => {
    quarantine.blame([accused('busy', 1000), accused('bad', 3)], 'SIGFPE');
    const guilty = quarantine.blame([accused('busy', 2000), accused('bad', 3), accused('late')], 'SIGFPE');
    expect(guilty).toMatchObject({ name: 'bad' });
    // The deaths that are explained count against nobody else.
    expect(quarantine.blame([accused('busy', 3000)], 'SIGFPE')).toBeUndefined();
    expect(quarantine.blame([accused('late')], 'SIGFPE')).toBeUndefined();
  });

  it('gives a file another chance on another word, and forgets deaths that are long past', () => {
    quarantine.blame([accused('a')], 'SIGFPE');
    quarantine.blame([accused('a')], 'SIGFPE');
    expect(quarantine.reasonFor('digest of a', 'r2')).toBeUndefined();
    expect(quarantine.blame([accused('a', 0, 'r2')], 'SIGFPE')).toBeUndefined();
    now += 25 * 3_600_000;
    expect(quarantine.blame([accused('a', 0, 'r2')], 'SIGFPE')).toBeUndefined();
  });

  it('suspects whom a death was laid to, until another one explains it or a day has passed', () => {
    const suspected = () => ['bad', 'busy', 'new'].filter((name) => quarantine.isSuspected(`digest of ${name}`));
    expect(suspected()).toEqual([]);
    quarantine.blame([accused('busy', 1000), accused('bad', 3)], 'SIGFPE');
    expect(suspected()).toEqual(['bad', 'busy']);
    now += 23 * 3_600_000;
    quarantine.blame([accused('busy', 1000), accused('bad', 3)], 'SIGFPE');
    expect(suspected()).toEqual(['bad']);
    now += 25 * 3_600_000;
    expect(suspected()).toEqual([]);
  });

  it('blames nobody when nothing ran', () => {
    expect(quarantine.blame([], 'SIGSEGV')).toBeUndefined();
  });

  it('counts also while nothing can be written, for as long as the agent lives', () => {
    database.$client.pragma('query_only = ON');
    expect(quarantine.blame([accused('a')], 'SIGFPE')).toBeUndefined();
    expect(quarantine.blame([accused('a')], 'SIGFPE')).toMatchObject({ name: 'a' });
    expect(quarantine.reasonFor('digest of a', 'r1')).toMatchObject({ code: 'model_rejected' });
  });
});
