import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { openDatabase } from '../database/open.ts';
import { createUsage } from './usage.ts';

it('counts what is sent in a month over restarts, and says what gives', () => {
  const folder = mkdtempSync(join(tmpdir(), 'agent-usage-'));
  const database = openDatabase(join(folder, 'agent.db'), pino({ level: 'silent' }));
  const now = { ms: Date.UTC(2026, 5, 16), written: 0 };
  const start = () =>
    createUsage({
      ...{ database, monthlyBudgetBytes: 1000, dailyWritesBudgetBytes: 5000 },
      ...{ nowMs: () => now.ms, monotonicMs: () => now.ms, writtenBytes: () => now.written },
    });
  try {
    const first = start();
    first.sent(400);
    expect(first.saving()).toMatchObject({ uploads: true, windows: 1, words: [] });
    first.sent(300);
    first.keep(database);
    const again = start();
    // Half of the month is gone, and more than a half of the budget.
    expect(again.report()).toMatchObject({ sentBytes: 700, monthlyBudgetBytes: 1000, writtenADayBytes: null });
    expect(again.saving()).toMatchObject({ uploads: false, windows: 1 });
    again.sent(400);
    expect(again.saving().windows).toBeGreaterThan(1);
    now.ms = Date.UTC(2026, 6, 1);
    expect(again.report()).toMatchObject({ sentBytes: 0, saving: [], since: now.ms });
    now.ms += 3_600_000;
    now.written = 1000;
    expect(again.report()).toMatchObject({ writtenADayBytes: 24_000 - 0 });
  } finally {
    database.$client.close();
    rmSync(folder, { recursive: true });
  }
});
