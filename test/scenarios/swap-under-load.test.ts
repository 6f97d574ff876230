// Device software never sees a deployment happen.
import { Rollout } from '@edgeloop/shared/api/rollouts';
import { expect, test } from 'vitest';
import { startClient } from '../support/client.ts';
import { metricTotal, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { until } from '../support/until.ts';

const fleet = oneAgentFleet();

test('200 requests a second through a swap, a rollback and a restart of the control plane: none fails, all are counted', {
  timeout: 180_000,
}, async () => {
  const { plane, agent } = fleet();
  const first = await pushVersion(plane, 'sum');
  const second = await pushVersion(plane, 'sum', { bias: 0.5 });
  await rolloutIn(plane, await release(plane, 'sum', first), ['completed']);
  await serves(agent, 'sum', first);
  const probes = 1;

  const client = startClient(agent.url, 'sum', 200);
  const answeredBy = (version: number) =>
    until(
      `answers of version ${version}`,
      async () => (client.counts.versions.get(String(version)) ?? 0) > 200 || undefined,
    );
  await answeredBy(first);
  const rollout = await release(plane, 'sum', second, { bakeSeconds: 600 });
  await answeredBy(second);

  const beforeRollback = client.counts.versions.get(String(first)) ?? 0;
  await plane.api.send('POST', `/rollouts/${rollout}/rollback`, Rollout, { reason: 'test' });
  await until(
    'answers of the first version again',
    async () => (client.counts.versions.get(String(first)) ?? 0) > beforeRollback + 200 || undefined,
  );
  await rolloutIn(plane, rollout, ['rolled_back']);

  await plane.stop();
  const whileAway = client.counts.answered;
  await until(
    'answers while the control plane is away',
    async () => client.counts.answered > whileAway + 200 || undefined,
  );
  await plane.start();
  const counts = await client.stop();

  expect(counts.failures).toEqual([]);
  await until(
    'all telemetry',
    async () => (await metricTotal(plane, 'succeeded')) === counts.answered + probes || undefined,
    {
      context: () => `clients counted ${counts.answered} and ${probes} probe`,
    },
  );
});
