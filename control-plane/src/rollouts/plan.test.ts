// What a rehearsal says of devices that will not take up a version at once.
import { RolloutRehearsal } from '@edgeloop/shared/api/forecasts';
import type { Reported } from '@edgeloop/shared/messages';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { emptyArm } from '../gates/field-fixture.ts';
import { openRollouts, type World } from './rollouts-fixture.ts';

let world: World;
beforeEach(async () => {
  world = await openRollouts();
  world.traffic.mockResolvedValue({
    ...{ requestsPerHour: new Map(), labelsPerHour: new Map(), timelyLabelsPerHour: 0, lastPeriod: emptyArm() },
  });
});
afterEach(async () => {
  await world.close();
});
const machine = { agentVersion: '1', nodeVersion: '20', platform: 'linux', arch: 'x64', cpus: 1, cpuModel: '' };
function says(id: string, word: Partial<Reported>, timeZone?: string) {
  const facts = { ...machine, memoryBytes: 1, hostname: '', ...(timeZone === undefined ? {} : { timeZone }) };
  const outbox = { pendingItems: 0, pendingBytes: 0, droppedItems: 0 };
  const reported = { generation: 0, models: [], facts, startedAt: 0, reportedAt: world.now(), outbox, ...word };
  return world.fleet.onReported(id, reported);
}

it('names who is held, out of window, or keeps its time zone for itself, and until when', async () => {
  for (const id of ['held', 'away', 'mute', 'free']) await world.enrol(id);
  const until = world.now() + 600_000;
  await says('held', { hold: { until, reason: 'oven on' } }, 'Asia/Tokyo');
  await says('away', {}, 'UTC');
  await says('free', {}, 'Asia/Tokyo');
  // The clock of the tests stands at 0:16 in UTC.
  const plan = { waves: [{ percent: 100, name: 'fleet' }], windows: { activate: [{ from: '09:00', to: '10:00' }] } };
  const [wave] = (await world.rollouts.plan('key:test', RolloutRehearsal.parse({ model: 'net', version: 2, ...plan })))
    .waves;
  expect(wave).toMatchObject({
    ...{ name: 'fleet', devices: 4, counts: { offline: 0, held: 1, outOfWindow: 1, zoneUnknown: 1 } },
    held: [{ deviceId: 'held', until, reason: 'oven on' }],
    outOfWindow: [{ deviceId: 'away', until: 9 * 3_600_000, timeZone: 'UTC' }],
    zoneUnknown: ['mute'],
  });
  expect(wave?.detail).toMatch(
    /; 1 held back on the device, until 1970-01-01T00:26:40Z at the latest; 1 out of window, until 1970-01-01T09:00:00Z; of 1 no time zone is known/,
  );
});
