import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { lockDataFolder } from './lock.ts';

const scratch = mkdtempSync(join(tmpdir(), 'lock-'));
afterAll(() => rmSync(scratch, { recursive: true }));

it('is held by one until it lets go, and says who else and what to do', () => {
  const options = { folder: join(scratch, 'data'), file: 'agent.lock', owner: 'agent', variable: 'SOME_VARIABLE' };
  const held = lockDataFolder(options);
  expect(() => lockDataFolder(options)).toThrow(/another agent uses .*data; stop it, or set SOME_VARIABLE/);
  held.release();
  lockDataFolder(options).release();
});

it('is held though its file was damaged: nothing is kept in it', () => {
  const options = { folder: scratch, file: 'damaged.lock', owner: 'agent', variable: 'SOME_VARIABLE' };
  writeFileSync(join(scratch, options.file), 'x'.repeat(5000));
  const held = lockDataFolder(options);
  expect(() => lockDataFolder(options)).toThrow(/another agent uses/);
  held.release();
});
