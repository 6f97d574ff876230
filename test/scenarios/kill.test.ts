// kill -9 of agent and control plane at random instants: what the clients counted is what the metrics say.
import { expect, test } from 'vitest';
import { startClient } from '../support/client.ts';
import { metricTotal, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { until } from '../support/until.ts';

const fleet = oneAgentFleet();
const kills = 6;

test(`after ${kills} kills the counts differ by no more than the requests in flight at the kills`, {
  timeout: 300_000,
}, async () => {
  const { plane, agent } = fleet();
  const version = await pushVersion(plane, 'sum');
  await rolloutIn(plane, await release(plane, 'sum', version), ['completed']);
  await serves(agent, 'sum', version);
  let answered = 1;
  let lostInFlight = 0;
  for (let round = 0; round < kills; round++) {
    const victim = round % 2 === 0 ? agent : plane;
    const client = startClient(agent.url, 'sum', 100);
    const instant = 30 + Math.floor(Math.random() * 120);
    await until(`${instant} answers`, async () => client.counts.answered >= instant || undefined, { everyMs: 1 });
    await victim.kill();
    const counts = await client.stop();
    answered += counts.answered;
    if (victim === plane) expect(counts.failures).toEqual([]);
    else lostInFlight += counts.failures.length;
    await victim.start();
    await until('an answer after the restart', async () => predict(agent.url, 'sum', { a: 1, b: 2 }));
    answered++;
  }
  let counted = 0;
  await until(
    'all telemetry',
    async () => {
      counted = await metricTotal(plane, 'succeeded');
      return counted >= answered || undefined;
    },
    { context: () => `clients counted ${answered}, the control plane ${counted}` },
  );
  expect(counted).toBeGreaterThanOrEqual(answered);
  expect(counted).toBeLessThanOrEqual(answered + lostInFlight);
});

test('an agent that starts without its control plane serves the models it has', async () => {
  const { plane, agent } = fleet();
  const version = await pushVersion(plane, 'sum', { bias: 1 });
  await rolloutIn(plane, await release(plane, 'sum', version), ['completed']);
  await serves(agent, 'sum', version);
  await plane.kill();
  await agent.kill();
  await agent.start();
  await serves(agent, 'sum', version);
});
