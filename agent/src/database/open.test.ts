import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '@edgeloop/shared/errors';
import Database from 'better-sqlite3';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mounting, smallDisk } from '../../../test/support/small-disk.ts';
import { readFact, writeFact } from './facts.ts';
import { openDatabase } from './open.ts';
import { outbox } from './schema.ts';

const lines: string[] = [];
const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
const mounts = mounting();
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agent-database-'));
  lines.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('the database of a device', () => {
  it('keeps its facts over a reopening', () => {
    const path = join(folder, 'agent.db');
    const first = openDatabase(path, log);
    writeFact(first, 'desired', 'x');
    first.$client.close();
    const second = openDatabase(path, log);
    expect(readFact(second, 'desired')).toBe('x');
    second.$client.close();
  });

  it('is moved aside with a word in the log when the file is corrupt', () => {
    const path = join(folder, 'agent.db');
    writeFileSync(path, Buffer.alloc(8192, 0x61));
    const database = openDatabase(path, log);
    expect(readFact(database, 'desired')).toBeUndefined();
    database.$client.close();
    expect(readdirSync(folder).some((name) => name.startsWith('agent.db.damaged-'))).toBe(true);
    expect(lines.join()).toContain('is corrupt');
  });

  it('of a newer agent is refused and left as it is', () => {
    const path = join(folder, 'agent.db');
    const client = new Database(path);
    client.pragma('user_version = 99');
    client.close();
    expect(() => openDatabase(path, log)).toThrow(AppError);
    expect(readdirSync(folder)).toEqual(['agent.db']);
  });

  it.skipIf(mounts.path === undefined)(
    `that cannot be written is read from a copy, which numbers what it sends anew${mounts.reason}`,
    () => {
      const disk = smallDisk(4);
      try {
        const path = join(disk.path, 'agent.db');
        const first = openDatabase(path, log);
        writeFact(first, 'desired', 'x');
        writeFact(first, 'outbox_epoch', 7);
        writeFact(first, 'outbox_next', 5);
        first.insert(outbox).values({ sequence: 4, kind: 'loss', bytes: 2, item: '{}' }).run();
        first.$client.close();
        disk.setReadOnly(true);
        const copy = openDatabase(path, log);
        expect((['desired', 'outbox_epoch', 'outbox_next'] as const).map((fact) => readFact(copy, fact))).toEqual([
          'x',
          undefined,
          undefined,
        ]);
        expect(copy.select().from(outbox).all()).toEqual([]);
        copy.$client.close();
        disk.setReadOnly(false);
        const again = openDatabase(path, log);
        expect([readFact(again, 'outbox_epoch'), again.select().from(outbox).all().length]).toEqual(['7', 1]);
        again.$client.close();
      } finally {
        disk.remove();
      }
    },
  );
});
