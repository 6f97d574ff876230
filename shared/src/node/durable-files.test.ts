import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  isMissing,
  readIfPresent,
  readIfPresentSync,
  syncFolder,
  writeDurably,
  writeDurablySync,
} from './durable-files.ts';

const forms = [
  { name: 'that waits for nothing', write: writeDurably, read: readIfPresent },
  {
    name: 'that blocks',
    write: async (...given: Parameters<typeof writeDurablySync>) => writeDurablySync(...given),
    read: async (path: string) => readIfPresentSync(path),
  },
];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'durable-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe.each(forms)('the form $name', ({ write, read }) => {
  it('makes missing folders, replaces what is there, and leaves nothing beside it', async () => {
    const path = join(folder, 'a', 'b');
    await write(path, 'one', 0o600);
    await write(path, Buffer.from('two'), 0o600);
    expect(await read(path)).toBe('two');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(folder, 'a'))).toEqual(['b']);
  });

  it('takes away what it wrote beside when it cannot be put in place', async () => {
    const path = join(folder, 'taken');
    mkdirSync(join(path, 'inside'), { recursive: true });
    await expect(write(path, 'text')).rejects.toThrow();
    expect(readdirSync(folder)).toEqual(['taken']);
  });

  it('says nothing of a file that is missing, and why another cannot be read', async () => {
    expect(await read(join(folder, 'nowhere'))).toBeUndefined();
    await expect(read(folder)).rejects.toThrow('EISDIR');
  });
});

it('tells a missing name from other failures', async () => {
  const error: unknown = await syncFolder(join(folder, 'nowhere')).catch((cause: unknown) => cause);
  expect(isMissing(error)).toBe(true);
  expect(isMissing(new Error('ENOENT'))).toBe(false);
});
