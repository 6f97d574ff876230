// What one writes in an afternoon: hono, `JSON.parse`, and one piscina task a request. The bench compares with it, from
// the build (a worker thread takes no .ts file).
import { fileURLToPath } from 'node:url';
import { serve } from '@hono/node-server';
import { Hono } from 'hono';
import { Piscina } from 'piscina';
import type { NaiveTask } from './naive-worker.ts';

const models: Record<string, string> = JSON.parse(process.argv[2] ?? '{}');
const pool = new Piscina({
  filename: fileURLToPath(new URL('./naive-worker.js', import.meta.url)),
  workerData: models,
  minThreads: 2,
  maxThreads: 2,
});

const app = new Hono();
app.post('/v2/models/:name/infer', async (c) => {
  const { inputs }: Pick<NaiveTask, 'inputs'> = await c.req.json();
  const model = c.req.param('name');
  const outputs = await pool.run({ model, inputs } satisfies NaiveTask);
  return c.json({ model_name: model, model_version: '1', outputs });
});

serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' }, ({ port }) => process.send?.(port));
process.on('disconnect', () => process.exit());
