// A version is tried on what devices captured, before any device gets it.
import { Sample } from '@edgeloop/shared/api/data';
import { pageOf } from '@edgeloop/shared/api/paging';
import { expect, test } from 'vitest';
import { device, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { runCli } from '../support/programs.ts';
import { until } from '../support/until.ts';

const fleet = oneAgentFleet();

test('a worse version is stopped by its backtest before any device gets it', { timeout: 180_000 }, async () => {
  const { plane, agent } = fleet();
  const good = await pushVersion(plane, 'sum');
  await rolloutIn(plane, await release(plane, 'sum', good), ['completed']);
  await serves(agent, 'sum', good);
  const { desired: before } = await device(plane, 'edge-1');
  for (let i = 0; i < 40; i++) {
    const a = i % 2 === 0 ? 3 : -3;
    const { id } = await predict(agent.url, 'sum', { a, b: i / 100 });
    const body = JSON.stringify({ label: a > 0 ? 'high' : 'low' });
    const told = await fetch(`${agent.url}/feedback/${id}`, { method: 'POST', body });
    expect(told.status, await told.text()).toBe(202);
  }
  await until(
    'forty labelled samples',
    async () => {
      const query = { model: 'sum', labelled: 'true', limit: 100 };
      const { items } = await plane.api.get('/samples', pageOf(Sample), query);
      return items.length >= 40 || undefined;
    },
    { timeoutMs: 60_000, context: agent.program.output },
  );

  const worse = await pushVersion(plane, 'sum', { weight: -1 });
  const planned = await runCli(['rollouts', 'plan', 'sum', String(worse), '--backtest'], {
    ...plane.env,
    EDGELOOP_URL: plane.url,
  });
  expect(planned.output).toMatch(
    new RegExp(`backtest of sum version ${worse}: of \\d+ samples of the last 7 days .* than by version ${good};`),
  );
  expect(planned.output).toMatch(/accuracy 0\.0 % against 100\.0 % on 40 labels/);
  const rollout = await release(plane, 'sum', worse, {
    gates: { minRequests: 0, backtest: { mode: 'gate', minSamples: 40 } },
  });
  const ended = await rolloutIn(plane, rollout, ['rolled_back', 'completed']);
  expect(ended.state).toMatchObject({
    phase: 'rolled_back',
    reason: expect.stringMatching(/^before the first wave: accuracy loses 100 points, allowed are 5 points/),
  });
  expect(ended.backtest).toMatchObject({ status: 'done', report: { baseline: { version: good } } });
  // Its order was never touched.
  expect((await device(plane, 'edge-1')).desired).toEqual(before);
});
