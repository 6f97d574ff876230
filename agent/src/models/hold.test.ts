import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createLocalHold } from './hold.ts';

let folder = '';
let text: string | undefined;
let now = 1_000_000;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hold-'));
  text = undefined;
  now = 1_000_000;
});
afterEach(() => rmSync(folder, { recursive: true }));

const lockFile = () => join(folder, 'hold');
const opened = () =>
  createLocalHold({
    stored: {
      read: () => text,
      write: (written) => {
        text = written;
      },
    },
    lockFile: lockFile(),
    nowMs: () => now,
  });

describe('a hold of device software', () => {
  it('lasts for its time, also over a restart, and no longer', () => {
    opened().set({ seconds: 60, reason: 'surgery' });
    now += 59_999;
    expect(opened().present()).toEqual({ reason: 'surgery', untilMs: 1_060_000 });
    now += 1;
    expect(opened().present()).toBeUndefined();
  });

  it('is taken back', () => {
    const hold = opened();
    hold.set({ seconds: 60, reason: 'surgery' });
    hold.clear();
    expect(hold.present()).toBeUndefined();
    expect(opened().present()).toBeUndefined();
  });

  it('lasts as long as the lock file lies there, whose text is the reason', () => {
    const hold = opened();
    writeFileSync(lockFile(), ' a job is printed \n');
    expect(hold.present()).toEqual({ reason: 'a job is printed', untilMs: undefined });
    expect(() => hold.clear()).toThrow(/has to remove it/);
    writeFileSync(lockFile(), '');
    expect(hold.present()?.reason).toBe(`lock file ${lockFile()}`);
    rmSync(lockFile());
    expect(hold.present()).toBeUndefined();
  });

  it('holds nothing back when what was stored cannot be read', () => {
    text = '{"untilMs":';
    expect(opened().present()).toBeUndefined();
  });
});
