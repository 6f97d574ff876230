import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ResourceUsage } from '@edgeloop/shared/resource-usage';
import { afterEach, describe, expect, it } from 'vitest';
import { type MachineReading, readMachine, trafficIn } from './machine.ts';
import { createResources } from './resources.ts';

const reading: MachineReading = {
  ...{ busyTicks: 100, allTicks: 1000, memoryUsed: 0.5, agentBytes: 1e6, diskFreeBytes: 1e9, temperatureC: 50 },
  ...{ receivedBytes: 1000, sentBytes: 10, throttles: 3 },
};

describe('what a window says of the machine', () => {
  it('is how busy it was between looks, and what the looks saw', async () => {
    const readings = [
      reading,
      { ...reading, busyTicks: 400, allTicks: 1400, temperatureC: 70, receivedBytes: 1500, throttles: 4 },
    ];
    let now = 0;
    const resources = createResources({ read: async () => readings.shift() ?? reading, nowMs: () => now });
    await resources.look();
    now = 5000;
    await resources.look();
    expect(readings).toHaveLength(1);
    now = 20_000;
    await resources.look();
    expect(resources.take()).toEqual({
      ...{ samples: 2, seconds: 20, receivedBytes: 500, sentBytes: 0, throttled: 1 },
      processor: { count: 1, sum: 0.75, min: 0.75, max: 0.75 },
      memory: { count: 2, sum: 1, min: 0.5, max: 0.5 },
      agentBytes: { count: 2, sum: 2e6, min: 1e6, max: 1e6 },
      diskFreeBytes: { count: 2, sum: 2e9, min: 1e9, max: 1e9 },
      temperatureC: { count: 2, sum: 120, min: 50, max: 70 },
    });
    expect(resources.take()).toBeUndefined();
  });

  it('leaves out what the machine does not tell, and counters that began anew', async () => {
    const silent = {
      ...{ ...reading, agentBytes: undefined, diskFreeBytes: undefined, temperatureC: undefined },
      ...{ receivedBytes: undefined, throttles: undefined },
    };
    const readings = [silent, { ...silent, sentBytes: 3 }];
    const resources = createResources({ read: async () => readings.shift() ?? silent, nowMs: () => 0 });
    await resources.look('now');
    await resources.look('now');
    const usage = resources.take();
    expect(Object.keys(usage ?? {}).sort()).toEqual(['memory', 'samples', 'seconds', 'sentBytes']);
    expect(usage?.sentBytes).toBe(0);
    expect(ResourceUsage.parse(usage)).toEqual(usage);
  });
});

describe('a look at the machine', () => {
  const folder = mkdtempSync(join(tmpdir(), 'machine-'));
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const put = (path: string, text: string) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };

  it('reads the hottest sensor, all interfaces but the local one, the agent with its processes, and what held it back', async () => {
    put('sys/class/thermal/thermal_zone0/temp', '45000\n');
    put('sys/class/thermal/thermal_zone1/temp', '61500\n');
    put('sys/class/thermal/thermal_zone2/temp', '-274000\n');
    put('sys/class/thermal/cooling_device0/temp', '99000\n');
    const net = [
      'Inter-|   Receive                                                |  Transmit',
      ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets',
      '    lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0',
      '  eth0: 100 1 0 0 0 0 0 0 20 1 0 0 0 0 0 0',
      ' wlan0:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0',
    ].join('\n');
    put('proc/net/dev', net);
    put(`proc/${process.pid}/status`, 'Name:\tnode\nVmRSS:\t    2000 kB\n');
    put(`proc/${process.pid}/task/${process.pid}/children`, '77 78 ');
    put('proc/77/status', 'VmRSS:\t    1000 kB\n');
    put('sys/fs/cgroup/cpu.stat', 'usage_usec 5\nthrottled_usec 12\n');
    put('sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count', '3\n');
    const seen = await readMachine(folder, folder);
    expect(trafficIn(net)).toEqual({ received: 105, sent: 27 });
    expect(seen).toMatchObject({
      temperatureC: 61.5,
      receivedBytes: 105,
      sentBytes: 27,
      agentBytes: 3_072_000,
      throttles: 15,
    });
    expect(seen.diskFreeBytes).toBeGreaterThan(0);
    expect(seen.memoryUsed).toBeGreaterThan(0);
    put('sys/devices/platform/soc/soc:firmware/get_throttled', '50005\n');
    expect((await readMachine(folder, folder)).throttles).toBe(Number.POSITIVE_INFINITY);
  });

  it('tells of this machine what every machine tells', async () => {
    const seen = await readMachine(tmpdir());
    expect(seen.allTicks).toBeGreaterThan(seen.busyTicks);
    expect(seen.memoryUsed).toBeLessThanOrEqual(1);
    expect((await readMachine(tmpdir(), '/nowhere')).temperatureC).toBeUndefined();
  });
});
