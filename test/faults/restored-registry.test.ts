// A control plane that is put back from a backup meets an agent that knows what came after it.
import { cp, rm } from 'node:fs/promises';
import { Model } from '@edgeloop/shared/api/models';
import { expect, test } from 'vitest';
import { device, metricTotal, predict, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { oneAgentFleet } from '../support/one-agent.ts';
import { type ControlPlane, runCli } from '../support/programs.ts';
import { until } from '../support/until.ts';

const fleet = oneAgentFleet();

async function releaseVersion(plane: ControlPlane, bias: number): Promise<number> {
  const version = await pushVersion(plane, 'sum', { bias });
  await rolloutIn(plane, await release(plane, 'sum', version), ['completed']);
  return version;
}

test('the next push goes on above the number that the agent runs, the operator is told, and what it does is not counted', {
  timeout: 300_000,
}, async () => {
  const { plane, agent } = fleet();
  expect(await releaseVersion(plane, 0)).toBe(1);
  await predict(agent.url, 'sum', { a: 1, b: 1 });
  await until('the requests being counted', async () => {
    return (await metricTotal(plane, 'requests', { model: 'sum', version: '1' })) > 0 || undefined;
  });
  const backup = `${plane.folder}-backup`;
  await plane.stop();
  await cp(plane.folder, backup, { recursive: true });
  await plane.start();
  expect(await releaseVersion(plane, 1)).toBe(2);
  await serves(agent, 'sum', 2);
  await plane.stop();
  await rm(plane.folder, { recursive: true });
  await cp(backup, plane.folder, { recursive: true });
  await plane.start();

  const shown = await until('the agent’s report', async () => {
    const found = await device(plane, agent.id);
    return found.unknownReleases.length > 0 ? found : undefined;
  });
  expect(shown).toMatchObject({ conflicting: true, unknownReleases: [{ name: 'sum', version: 2 }] });
  const { output } = await runCli(['devices', 'show', agent.id], { ...plane.env, EDGELOOP_URL: plane.url });
  expect(output).toMatch(/problems\n(.*\n)*.*model sum 2: .*not registered here/);
  const model = await plane.api.get('/models/sum', Model);
  expect(model.unknownReleases).toMatchObject([{ version: 2, devices: 1 }]);

  for (let i = 0; i < 5; i++) await predict(agent.url, 'sum', { a: 1, b: i });
  await until('the requests being told', async () => {
    const { problems } = await device(plane, agent.id);
    return problems.some((text) => /^\d+ requests of model sum 2 .*count nowhere/.test(text)) || undefined;
  });
  expect(await metricTotal(plane, 'requests', { model: 'sum', version: '2' })).toBe(0);
  expect(await pushVersion(plane, 'sum', { bias: 2 })).toBe(3);
});
