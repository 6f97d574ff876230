// The key that signs for a fleet is replaced while the device is away, with the programs and the CLI.
import { ReleaseKey } from '@edgeloop/shared/api/access';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { joinToken, pushVersion, release, rolloutIn, serves } from '../support/fleet.ts';
import { runCli, startAgent, startControlPlane, temporaryFolder } from '../support/programs.ts';

const Keys = z.object({ items: z.array(ReleaseKey) });

test('a device that was away follows to the new key, and the retired one counts no more', {
  timeout: 180_000,
}, async () => {
  const folder = await temporaryFolder();
  const plane = await startControlPlane(`${folder.path}/server`);
  const agent = await startAgent({ folder: `${folder.path}/agent`, id: 'edge-1', token: await joinToken(plane) });
  try {
    await rolloutIn(plane, await release(plane, 'sum', await pushVersion(plane, 'sum')), ['completed']);
    await serves(agent, 'sum', 1);
    await agent.stop();
    const env = { ...plane.env, EDGELOOP_URL: plane.url };
    const cli = async (...args: string[]) => (await runCli(['release-keys', ...args], env)).output;
    const [former] = (await plane.api.get('/release-keys', Keys)).items;
    expect(await cli('add')).toContain('signs from now on');
    expect(await cli('retire', former?.id ?? '')).toContain('retired');
    expect(await cli('list')).not.toContain(former?.id);
    const second = await release(plane, 'sum', await pushVersion(plane, 'sum', { weight: 2 }));
    await agent.start();
    await rolloutIn(plane, second, ['completed']);
    await serves(agent, 'sum', 2);
  } finally {
    await agent.stop();
    await plane.stop();
    await folder.remove();
  }
});
