// `edgeloop simulate` against a real control plane: what it sent is what is counted, and nothing of it stays.
import { Device } from '@edgeloop/shared/api/devices';
import { pageOf } from '@edgeloop/shared/api/paging';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import {
  type ControlPlane,
  serverProgram,
  startControlPlane,
  startProgram,
  temporaryFolder,
} from '../support/programs.ts';
import { until } from '../support/until.ts';

const devices = 30;
const Result = z.object({
  windows: z.object({ made: z.number(), acknowledged: z.number(), lost: z.number(), resent: z.number() }),
  requests: z.object({ made: z.number(), counted: z.number() }),
  connects: z.number(),
  storm: z.object({ backAfterMs: z.number() }),
  removed: z.number(),
});

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let plane: ControlPlane;
beforeAll(async () => {
  folder = await temporaryFolder();
  plane = await startControlPlane(folder.path, { EDGELOOP_LOG_LEVEL: 'error' });
});
afterAll(async () => {
  await plane.kill();
  await folder.remove();
});

const fleet = (query: Record<string, string> = {}) =>
  plane.api.get('/devices', pageOf(Device), { limit: 100, ...query }).then(({ items }) => items);

it('counts every window of a fleet with faults through a storm, and leaves no device behind', async () => {
  const faults = ['--error-rate', '0.1', '--wrong-clock', '0.2', '--clock-offset', '-30m'];
  const traffic = [
    '--devices',
    String(devices),
    '--windows-per-second',
    '30',
    '--duration',
    '3s',
    '--storm-after',
    '1s',
  ];
  const program = startProgram([serverProgram, 'simulate', ...traffic, ...faults, '--json'], plane.env);
  const there = await until(
    'all being connected',
    async () => {
      const items = await fleet({ status: 'online' });
      return items.length === devices ? items : undefined;
    },
    { context: program.output },
  );
  expect(there.every(({ id, labels }) => id.startsWith('sim-') && labels.simulated === 'true')).toBe(true);

  expect(await program.waitForEnd()).toBe(0);
  const { windows, requests, connects, storm, removed } = Result.parse(JSON.parse(program.output()));
  expect(windows.made).toBeGreaterThanOrEqual(80);
  expect(windows).toMatchObject({ acknowledged: windows.made, lost: 0 });
  expect(requests.made).toBeGreaterThanOrEqual(windows.made);
  expect(requests.counted).toBe(requests.made);
  expect(connects).toBeGreaterThanOrEqual(2 * devices);
  expect(storm.backAfterMs).toBeGreaterThan(0);
  expect(removed).toBe(devices);
  expect(await fleet()).toEqual([]);
});
