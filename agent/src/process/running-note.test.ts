import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sourceExecArgv } from '@edgeloop/shared/node/bounded-process';
import { afterAll, describe, expect, it } from 'vitest';
import { isMemory, memoryFolder } from '../storage/memory.ts';
import { clearRunningNote, httpThreadSlot, openRunningNoteSlot, placeRunningNote } from './running-note.ts';
import { readRunningNote } from './running-report.ts';

describe('the note of what runs', () => {
  const folder = mkdtempSync(join(tmpdir(), 'running-note-'));
  const path = join(folder, 'running-note');
  afterAll(() => rmSync(folder, { recursive: true }));

  it('names every version that runs, once, and nothing that has ended', () => {
    clearRunningNote(path);
    const slots = [0, 1, 2].map((slot) => openRunningNoteSlot(path, slot));
    expect(readRunningNote(path)).toEqual([]);
    slots[2]?.begin('second', 2 ** 31 - 1);
    slots[1]?.begin('first', 1);
    slots[0]?.begin('first', 1);
    expect(readRunningNote(path)).toEqual([
      { name: 'first', version: 1 },
      { name: 'second', version: 2 ** 31 - 1 },
    ]);
    slots[0]?.rest();
    slots[1]?.rest();
    expect(readRunningNote(path)).toEqual([{ name: 'second', version: 2 ** 31 - 1 }]);
    slots[1]?.begin('x'.repeat(63), 7);
    truncateSync(path, 128 + 40);
    expect(readRunningNote(path)).toEqual([]);
    for (const slot of slots) slot.close();
  });

  it('lies in memory without a name of its own, where the system has some, and other processes reach it', async () => {
    const before = isMemory(memoryFolder, 1) ? readdirSync(memoryFolder) : [];
    const placed = placeRunningNote(path);
    if (!isMemory(memoryFolder, 1)) return expect(placed).toBe(path);
    expect(readdirSync(memoryFolder).filter((name) => !before.includes(name) && name.includes('note'))).toEqual([]);
    clearRunningNote(placed);
    const module = new URL('running-note.ts', import.meta.url).href;
    const code = `import(${JSON.stringify(module)}).then((room) => room.openRunningNoteSlot(${JSON.stringify(placed)}, 1).begin('elsewhere', 3))`;
    await promisify(execFile)(process.execPath, [
      ...sourceExecArgv(import.meta.url),
      '--input-type=module',
      '-e',
      code,
    ]);
    expect(readRunningNote(placed)).toEqual([{ name: 'elsewhere', version: 3 }]);
    clearRunningNote(placed);
    expect(readRunningNote(placed)).toEqual([]);
  });

  it('names the version that runs now when a thread goes from one to the next, and back', () => {
    clearRunningNote(path);
    const slot = openRunningNoteSlot(path, 0);
    for (const [name, version] of [
      ['first', 1],
      ['first', 2],
      ['first', 2],
      ['second', 1],
      ['first', 1],
    ] as const) {
      slot.begin(name, version);
      expect(readRunningNote(path)).toEqual([{ name, version }]);
    }
    slot.close();
    expect(readRunningNote(path)).toEqual([]);
  });

  it('tells apart what the thread that answers HTTP runs', () => {
    clearRunningNote(path);
    const slots = [httpThreadSlot, httpThreadSlot + 1].map((slot) => openRunningNoteSlot(path, slot));
    slots[1]?.begin('elsewhere', 1);
    expect(readRunningNote(path, 'http-thread')).toEqual([]);
    slots[0]?.begin('here', 2);
    expect(readRunningNote(path, 'http-thread')).toEqual([{ name: 'here', version: 2 }]);
    expect(readRunningNote(path)).toHaveLength(2);
    for (const slot of slots) slot.close();
  });

  it('says nothing when there is none', () => {
    expect(readRunningNote(join(folder, 'missing'))).toEqual([]);
  });

  it('survives the death of its process', async () => {
    clearRunningNote(path);
    const module = new URL('./running-note.ts', import.meta.url).href;
    const code = `const { openRunningNoteSlot } = await import(${JSON.stringify(module)});
      openRunningNoteSlot(${JSON.stringify(path)}, 3).begin('culprit', 4); process.kill(process.pid, 'SIGKILL');`;
    const child = promisify(execFile)(process.execPath, [
      ...sourceExecArgv(import.meta.url),
      '--input-type=module',
      '-e',
      code,
    ]);
    await expect(child).rejects.toMatchObject({ signal: 'SIGKILL' });
    expect(readRunningNote(path)).toEqual([{ name: 'culprit', version: 4 }]);
  });
});
