import { Hono } from 'hono';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { onlyUnderOurNames } from './browser-names.ts';
import { onError } from './problem.ts';
import type { Env } from './router.ts';

const app = new Hono<Env>();
app.onError(onError(pino({ level: 'silent' })));
app.use(onlyUnderOurNames(['edgeloop.plant.example', '0.0.0.0']));
app.get('/metrics', (c) => c.text('figures'));

const browser = { 'accept-language': 'de-DE,de;q=0.9' };

test.each([
  ['localhost:7400', browser, 200],
  ['10.0.0.7', browser, 200],
  ['control-plane:7400', browser, 200],
  ['edgeloop.plant.example', browser, 200],
  ['evil.example:7400', browser, 403],
  ['evil.example:7400', { ...browser, 'user-agent': 'Prometheus/3.0' }, 403],
  ['edgeloop.behind-a-proxy.example', { 'user-agent': 'Prometheus/3.0' }, 200],
])('under the name %s, with %j, the answer is %i', async (host, headers, status) => {
  const answer = await app.request('/metrics', { headers: { ...headers, host } });
  expect(answer.status).toBe(status);
  if (status === 403)
    expect(await answer.json()).toMatchObject({ detail: expect.stringMatching(/EDGELOOP_PUBLIC_HOST/) });
});
