// What the machine tells of itself: of Linux more than of others. What it does not tell is undefined.
import { readdir, readFile } from 'node:fs/promises';
import { cpus, freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import { freeBytes } from '../storage/reserve.ts';

/** Counters grow since the machine started. */
export interface MachineReading {
  /** Of all cores together, in one unit. */
  busyTicks: number;
  allTicks: number;
  memoryUsed: number;
  agentBytes: number | undefined;
  diskFreeBytes: number | undefined;
  temperatureC: number | undefined;
  receivedBytes: number | undefined;
  sentBytes: number | undefined;
  /** It grows while the processor is held back; infinite where that is said of this moment. */
  throttles: number | undefined;
}

/** `root` is where `proc` and `sys` are; `dataDir` is on the disk that is meant. */
export async function readMachine(dataDir: string, root = '/'): Promise<MachineReading> {
  const cores = cpus();
  const allTicks = cores.reduce(
    (sum, { times }) => sum + times.user + times.nice + times.sys + times.idle + times.irq,
    0,
  );
  const idleTicks = cores.reduce((sum, { times }) => sum + times.idle, 0);
  const [network, temperatureC, throttles, agentBytes] = await Promise.all([
    readIfThere(join(root, 'proc/net/dev')).then((text) => (text === undefined ? undefined : trafficIn(text))),
    hottest(join(root, 'sys/class/thermal')),
    throttlesIn(root),
    residentOf(process.pid, root),
  ]);
  return {
    ...{ busyTicks: allTicks - idleTicks, allTicks, memoryUsed: 1 - freemem() / totalmem(), agentBytes },
    ...{ diskFreeBytes: freeBytes(dataDir), temperatureC, throttles },
    ...{ receivedBytes: network?.received, sentBytes: network?.sent },
  };
}

/** Bytes through all interfaces but the local one, from `/proc/net/dev`. */
export function trafficIn(text: string): { received: number; sent: number } {
  const sums = { received: 0, sent: 0 };
  for (const [, name, numbers = ''] of text.matchAll(/^\s*([^\s:]+):\s*(.+)$/gm)) {
    if (name === 'lo') continue;
    const fields = numbers.trim().split(/\s+/).map(Number);
    sums.received += fields[0] ?? 0;
    sums.sent += fields[8] ?? 0;
  }
  return sums;
}

async function hottest(folder: string): Promise<number | undefined> {
  const zones = (await listIfThere(folder)).filter((name) => name.startsWith('thermal_zone'));
  const texts = await Promise.all(zones.map((zone) => readIfThere(join(folder, zone, 'temp'))));
  const degrees = texts.flatMap((text) => {
    const value = Number(text) / 1000;
    // Sensors without a reading say 0 or nonsense.
    return text !== undefined && value > -60 && value < 200 && value !== 0 ? [value] : [];
  });
  return degrees.length === 0 ? undefined : Math.max(...degrees);
}

/** Of heat on x86, of a container's bound (cgroup v2), and of supply and heat on a Raspberry Pi (bits 0 to 3: now). */
async function throttlesIn(root: string): Promise<number | undefined> {
  const [heat, stat, board] = await Promise.all([
    readIfThere(join(root, 'sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count')),
    readIfThere(join(root, 'sys/fs/cgroup/cpu.stat')),
    readIfThere(join(root, 'sys/devices/platform/soc/soc:firmware/get_throttled')),
  ]);
  const bound = /^throttled_usec (\d+)$/m.exec(stat ?? '')?.[1];
  if (board !== undefined && (Number.parseInt(board, 16) & 0xf) !== 0) return Number.POSITIVE_INFINITY;
  const known = [heat, bound, board && 0].filter((each) => each !== undefined).map(Number);
  return known.length === 0 ? undefined : known.reduce((sum, each) => sum + each, 0);
}

/** Resident memory of a process and all that it started. */
async function residentOf(pid: number, root: string): Promise<number | undefined> {
  const folder = join(root, 'proc', String(pid));
  const status = await readIfThere(join(folder, 'status'));
  const own = /^VmRSS:\s+(\d+) kB$/m.exec(status ?? '')?.[1];
  if (own === undefined) return undefined;
  const children = (await readIfThere(join(folder, 'task', String(pid), 'children'))) ?? '';
  const each = await Promise.all(
    children
      .split(' ')
      .filter(Boolean)
      .map((child) => residentOf(Number(child), root)),
  );
  return Number(own) * 1024 + each.reduce<number>((sum, bytes) => sum + (bytes ?? 0), 0);
}

/** Not every machine has every file, and some refuse to be read. */
async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
}

async function listIfThere(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch {
    return [];
  }
}
