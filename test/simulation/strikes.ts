// What happens to devices and servers that nobody wants.

import type { Dice } from '../../control-plane/src/simulate/dice.ts';
import type { SimulatedControlPlane } from './control-plane.ts';
import type { SimulatedDevice } from './device.ts';
import type { Ledger } from './ledger.ts';
import type { Network } from './network.ts';
import type { VirtualTime } from './virtual-time.ts';

export interface Fate {
  time: VirtualTime;
  dice: Dice;
  network: Network;
  ledger: Ledger;
}

const dayMs = 86_400_000;
const hourMs = 3_600_000;

const strikes = {
  kill: (device) => device.kill(),
  'kill at a call': (device, { dice }) => device.killAtCall(dice.whole(1, 60)),
  restart: (device) => device.restart(),
  'kill serving': (device) => device.killServing(),
  reset: ({ id }, { network }) => network.reset(id),
  'false order': (device, { network, dice }) => {
    // Who was never told anything signed believes what comes first.
    if (device.heedsOnlySigned) network.deceive(device.id, dice.pick(['foreign', 'old', 'unsigned', 'changed']));
  },
  cut: ({ id }, { network, dice }) => network.cut(id, dice.between(500, 90_000)),
  away: ({ id }, { network, dice }) => network.cut(id, dice.between(100_000, 600_000)),
  clock: (device, { dice }) => device.jumpClock(dice.pick([0, -hourMs, hourMs, dayMs, -dayMs])),
  'full disk': (device, { time, dice }) => {
    device.isFull = true;
    const empty = () => {
      device.isFull = false;
    };
    time.after(dice.between(1000, 60_000), empty, time.world);
  },
  damage: (device) => device.damage(),
  wipe: (device) => device.wipe(),
} satisfies Record<string, (device: SimulatedDevice, fate: Fate) => void>;

const weights: Record<keyof typeof strikes, number> = {
  ...{ kill: 3, 'kill at a call': 5, restart: 2, 'kill serving': 2, reset: 3, cut: 3, away: 1, 'false order': 6 },
  ...{ clock: 1, 'full disk': 1, damage: 1, wipe: 0.3 },
};

export function strike(device: SimulatedDevice, fate: Fate): void {
  const what = fate.dice.kind(weights);
  fate.ledger.note(what, device.id);
  strikes[what](device, fate);
}

export function hitServer(plane: SimulatedControlPlane, { dice, ledger }: Fate): void {
  const what = dice.kind({ kill: 2, 'kill at a message': 4, backup: 3, restore: 1.5 });
  ledger.note(`server: ${what}`);
  if (what === 'kill') plane.kill(dice.between(500, 30_000));
  else if (what === 'kill at a message') plane.killAtPublish(dice.whole(1, 8));
  else if (what === 'restore') plane.restore();
  else if (plane.isAlive) plane.backup();
}
