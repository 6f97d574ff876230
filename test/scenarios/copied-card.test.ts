// A device's card is copied, and both devices answer requests: all are counted, and both are told.
import { cp } from 'node:fs/promises';
import { Device } from '@edgeloop/shared/api/devices';
import { expect, test } from 'vitest';
import { device, metricTotal, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { type Agent, startAgent, temporaryFolder } from '../support/programs.ts';
import { until } from '../support/until.ts';

const fleet = oneAgentFleet();

test('two devices with one identity are found and told, and every request of both is counted', {
  timeout: 180_000,
}, async () => {
  const { plane, agent, agentFolder } = fleet();
  const version = await pushVersion(plane, 'sum');
  await rolloutIn(plane, await release(plane, 'sum', version), ['completed']);
  await serves(agent, 'sum', version);
  let answered = 1;
  const ask = async (from: Agent, times: number) => {
    for (let i = 0; i < times; i++) await predict(from.url, 'sum', { a: 1, b: 1 });
    answered += times;
  };
  const counted = () =>
    until(`${answered} counted`, async () => (await metricTotal(plane, 'succeeded')) === answered || undefined);
  await ask(agent, 10);
  await counted();
  const folder = await temporaryFolder();
  await agent.stop();
  await cp(agentFolder, folder.path, { recursive: true });
  const copy = await startAgent({ folder: folder.path, id: agent.id, token: 'is not needed any more' });
  try {
    await serves(copy, 'sum', version);
    answered++;
    await ask(copy, 10);
    await counted();
    await agent.start();
    await serves(agent, 'sum', version);
    answered++;
    await ask(agent, 10);
    const twins = await until(
      'the conflict',
      async () => (await device(plane, agent.id)).identityConflict ?? undefined,
    );
    expect(twins.takeovers).toBeGreaterThanOrEqual(1);
    expect((await plane.api.get(`/devices/${agent.id}`, Device)).problems.join()).toMatch(
      /two devices use this identity/,
    );
    await until('both were told', async () => {
      const told = [agent, copy].map(({ program }) => program.output().includes('as after copying a card'));
      return told.every(Boolean) || undefined;
    });
    await copy.stop();
    await counted();
    expect((await device(plane, agent.id)).clock?.offsetMs).toBeLessThan(2000);
  } finally {
    await copy.stop();
    await folder.remove();
  }
});
