import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockDataFolder } from '@edgeloop/shared/node/lock';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openScratchFolder } from './scratch-folder.ts';

const log = pino({ level: 'silent' });
let root = '';

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'scratch-'));
  vi.stubEnv('TMPDIR', root);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

/** What a server that was killed leaves: its lock is there, and nobody holds it. */
function leave(path: string): void {
  lockDataFolder({ folder: path, file: 'serve.lock', owner: 'server', variable: 'TMPDIR' }).release();
  mkdirSync(join(path, 'overrides'));
}

describe('the folder of a server in the temporary directory', () => {
  it('is its own, stays while it lives, and goes with it', async () => {
    const first = await openScratchFolder(log);
    const second = await openScratchFolder(log);
    expect(readdirSync(root).sort()).toEqual(
      [first.path, second.path].map((path) => path.slice(root.length + 1)).sort(),
    );
    first.remove();
    expect(existsSync(first.path)).toBe(false);
    second.remove();
    expect(readdirSync(root)).toEqual([]);
  });

  it('is removed by the next start when nobody holds it', async () => {
    leave(join(root, 'edgeloop-serve-left'));
    const next = await openScratchFolder(log);
    expect(readdirSync(root)).toEqual([next.path.slice(root.length + 1)]);
    next.remove();
  });

  it('is left alone while it is being made, and so is whatever else lies there', async () => {
    mkdirSync(join(root, 'edgeloop-serve-young'));
    leave(join(root, 'elsewhere'));
    symlinkSync(join(root, 'elsewhere'), join(root, 'edgeloop-serve-link'));
    const next = await openScratchFolder(log);
    next.remove();
    expect(readdirSync(root).sort()).toEqual(['edgeloop-serve-link', 'edgeloop-serve-young', 'elsewhere']);
    expect(existsSync(join(root, 'elsewhere', 'overrides'))).toBe(true);
  });
});
