import { pino } from 'pino';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { until } from '../../../test/support/until.ts';
import { createRetention } from './retention.ts';

const log = pino({ level: 'silent' });
const database = { writable: async () => undefined };

test('a table is emptied a few rows at a time, and one that cannot be does not keep the others waiting', async () => {
  const left = { a: 1700, b: 300 };
  const asked: string[] = [];
  const keeper = (table: 'a' | 'b') => ({
    table,
    expire: async (limit: number) => {
      asked.push(`${table} ${limit}`);
      const gone = Math.min(limit, left[table]);
      left[table] -= gone;
      return gone;
    },
  });
  const broken = { table: 'broken', expire: () => Promise.reject(new Error('no room')) };
  const metrics = new Registry();
  const retention = createRetention({ database, keepers: [broken, keeper('a'), keeper('b')], metrics, log });
  retention.start();
  await until('all is gone', async () => (left.b === 0 ? true : undefined), { everyMs: 5 });
  await retention.close();
  expect(asked).toEqual(['a 500', 'a 500', 'a 500', 'a 500', 'b 500']);
  const text = await metrics.metrics();
  expect(text).toContain('edgeloop_expired_rows_total{table="a"} 1700');
});
