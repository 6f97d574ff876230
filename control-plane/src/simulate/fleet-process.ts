// A process of a simulated fleet: some of its devices, and what its parent tells them.
import { messageOf } from '@edgeloop/shared/errors';
import { endWithParent } from '@edgeloop/shared/node/end-with-parent';
import { z } from 'zod';
import { FleetCounts, SimulatedDevice } from './device.ts';
import { enrol, findDoor } from './joining.ts';
import { FleetSettings } from './settings.ts';
import type { Tally } from './tally.ts';
import { traitsOf } from './traits.ts';
import { createWindows } from './windows.ts';

const Count = z.number().int().min(0);
const Order = z.discriminatedUnion('do', [
  z.object({ do: z.literal('join'), settings: FleetSettings, from: Count, count: Count, atOnce: Count }),
  z.object({ do: z.literal('tell'), nr: Count }),
  /** Windows from now on, so long ones; or none. */
  z.object({ do: z.literal('make'), windowMs: z.number().min(1).nullable() }),
  /** Reports a second beside those that the devices make anyway. */
  z.object({ do: z.literal('report'), perSecond: z.number().min(0) }),
  z.object({ do: z.literal('break') }),
  z.object({ do: z.literal('end') }),
]);
/** What a process of a fleet is told. */
export type Order = z.input<typeof Order>;
/** What it says. */
export type Told = { joined: true } | { ended: true } | { failed: string } | { nr: number; tally: Tally };

const tickMs = 50;
/** Made in one tick; a process that is late by more does not make up for it. */
const mostAtOnce = 2000;
/** They say goodbye at once. */
const closingAtOnce = 200;

const counts = new FleetCounts();
const devices: SimulatedDevice[] = [];
/** Since the first window. */
let since: number | undefined;
let making: NodeJS.Timeout | undefined;
let reporting: NodeJS.Timeout | undefined;

function say(told: Told): void {
  process.send?.(told);
}

function obey(order: z.output<typeof Order>): Promise<void> | void {
  switch (order.do) {
    case 'join':
      return joinAll(order).then(() => say({ joined: true }));
    case 'tell':
      return say({ nr: order.nr, tally: counts.snapshot() });
    case 'make':
      clearInterval(making);
      return order.windowMs === null ? undefined : make(order.windowMs);
    case 'report':
      return report(order.perSecond);
    case 'break':
      for (const device of devices) device.breakOff();
      return;
    case 'end':
      return end();
  }
}

async function joinAll(order: Extract<z.output<typeof Order>, { do: 'join' }>): Promise<void> {
  const { settings } = order;
  const windows = createWindows(settings);
  const door = await findDoor(settings.joinToken);
  let next = order.from;
  const worker = async () => {
    while (next < order.from + order.count) {
      const traits = traitsOf(settings, next++);
      const enrolled = await enrol(door, { deviceId: traits.id, labels: traits.labels });
      counts.tally.joined += 1;
      const device = new SimulatedDevice({ enrolled, traits, settings, windows, counts });
      devices.push(device);
      await device.connect();
    }
  };
  await Promise.all(Array.from({ length: order.atOnce }, worker));
}

/** One device after the other, evenly. */
function make(windowMs: number): void {
  const startedAt = performance.now();
  const first = since ?? startedAt;
  since = first;
  let made = 0;
  making = setInterval(() => {
    const now = performance.now();
    const due = Math.floor(((now - startedAt) / windowMs) * devices.length);
    if (due - made > mostAtOnce) {
      counts.tally.windows.heldBack += due - made - mostAtOnce;
      made = due - mostAtOnce;
    }
    const to = Date.now();
    for (; made < due; made += 1)
      devices[made % devices.length]?.makeWindow({ from: to - windowMs, to, elapsedMs: now - first });
  }, tickMs);
}

function report(perSecond: number): void {
  clearInterval(reporting);
  let next = 0;
  if (perSecond > 0) reporting = setInterval(() => devices[next++ % devices.length]?.report(), 1000 / perSecond);
}

async function end(): Promise<void> {
  clearInterval(making);
  clearInterval(reporting);
  while (devices.length > 0) await Promise.all(devices.splice(0, closingAtOnce).map((device) => device.close()));
  say({ ended: true });
}

function fail(error: unknown): void {
  say({ failed: messageOf(error) });
}

process.on('message', (message) => {
  try {
    obey(Order.parse(message))?.catch(fail);
  } catch (error) {
    fail(error);
  }
});
endWithParent();
