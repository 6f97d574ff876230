import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Problems } from '../problems.ts';
import { PendingWrites } from './pending-writes.ts';
import { createReserve } from './reserve.ts';

const lines: string[] = [];
const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line).msg) });
let folder = '';
let problems: Problems;
let done: string[];
/** Writes that the disk still takes. */
let room: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pending-writes-'));
  problems = new Problems(log);
  done = [];
  lines.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true }));

const put = (what: string) => () => {
  if (room-- <= 0) throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  done.push(what);
};

function create(reserve = { make: () => true, release: () => false }): PendingWrites {
  return new PendingWrites({ folder, reserve, problems, log, retryMs: 3_600_000 });
}

describe('writes to a disk that refuses', () => {
  it('wait in memory, the newest of each key, and are done in their order when there is room', () => {
    const writes = create();
    room = 1;
    writes.write('a', put('a1'));
    for (const what of ['a2', 'b1', 'a3']) writes.write(what.slice(0, 1), put(what));
    expect(done).toEqual(['a1']);
    expect(problems.list()).toMatchObject([{ what: 'storage', words: expect.stringContaining('free some room') }]);
    room = 1;
    writes.retry();
    expect(done).toEqual(['a1', 'b1']);
    expect(problems.list()).toHaveLength(1);
    room = 9;
    writes.retry();
    expect(done).toEqual(['a1', 'b1', 'a3']);
    expect(problems.list()).toEqual([]);
    expect(lines).toEqual([expect.stringContaining('keeps its state in memory'), 'a problem is over']);
    writes.close();
  });

  it('are given the room of the reserve first, which is taken again afterwards', () => {
    const path = join(folder, 'reserve');
    const reserve = createReserve(path);
    expect(reserve.make()).toBe(true);
    const held = statSync(path).size;
    const writes = create(reserve);
    writes.write('a', () => {
      if (existsSync(path)) throw Object.assign(new Error('full'), { code: 'SQLITE_FULL' });
      writeFileSync(join(folder, 'a'), '');
    });
    expect(existsSync(join(folder, 'a'))).toBe(true);
    expect(problems.list()).toEqual([]);
    writes.retry();
    expect(statSync(path).size).toBe(held);
    writes.close();
  });

  it('that fail for another reason are their caller’s', () => {
    const writes = create();
    const wrong = () => {
      throw new TypeError('wrong');
    };
    expect(() => writes.write('a', wrong)).toThrow(TypeError);
    writes.close();
  });
});
