// pnpm bench rollouts --only engine[:SIZE]: the fleet and the rollouts of the control plane in this process, on a database of its own,
// without sockets: what a rollout costs by itself, and whether that grows with the fleet. Devices answer at once.
import { openCrowd } from '../../control-plane/src/rollouts/crowd-fixture.ts';
import { temporaryFolder } from '../support/programs.ts';
import { until } from '../support/until.ts';
import { machine, printTable, writeResult } from './report.ts';

const waves = [1, 5, 10, 25, 50, 100].map((percent) => ({ percent }));
/** From one look at what the event loop did to the next. */
const tickMs = 5;

interface EngineFigures {
  devices: number;
  what: string;
  seconds: number;
  cpuMs: number;
  /** Processor time between two ticks of a timer: what others wait for on a machine that has nothing else to do. */
  stretchP99Ms: number;
  stretchMaxMs: number;
}

export async function benchEngine(sizes: readonly number[]): Promise<void> {
  const figures: EngineFigures[] = [];
  for (const devices of sizes) figures.push(...(await measureEngine(devices)));
  printTable(
    ['devices', 'what', 's', 'cpu s', 'cpu ms/device', 'stretch p99', 'longest'],
    figures.map(({ devices, what, seconds, cpuMs, stretchP99Ms, stretchMaxMs }) => [
      ...[String(devices), what, seconds.toFixed(1), (cpuMs / 1000).toFixed(1), (cpuMs / devices).toFixed(2)],
      ...[`${stretchP99Ms.toFixed(0)} ms`, `${stretchMaxMs.toFixed(0)} ms`],
    ]),
  );
  console.log(`written to ${writeResult('rollout-engine', { ...machine(), figures })}`);
}

async function measureEngine(devices: number): Promise<EngineFigures[]> {
  const folder = await temporaryFolder();
  const crowd = await openCrowd(folder.path, devices);
  const figures: EngineFigures[] = [];
  const measured = async (what: string, work: () => Promise<unknown>) => {
    const stretch = await timed(work);
    figures.push({ devices, what, ...stretch });
  };
  const rollOut = async (version: number, plan: object): Promise<string> => {
    const id = await crowd.release(version, { waves, ...plan });
    await until(
      'the end of the rollout',
      async () => {
        const { phase } = (await crowd.rollouts.list({ limit: 1 })).items[0]?.state ?? {};
        return phase !== 'running' || undefined;
      },
      { timeoutMs: 20 * 60_000, everyMs: 500 },
    );
    return id;
  };
  try {
    await measured('six waves', () => rollOut(1, {}));
    const maxUnavailable = { devices: Math.ceil(devices / 200), label: 'site' };
    await measured('maxUnavailable', () => rollOut(2, { maxUnavailable }));
    const rate = { start: devices * 12, factor: 2, growAfter: Math.ceil(devices / 10) };
    let last = '';
    await measured('rate', async () => {
      last = await rollOut(3, { rate });
    });
    await measured('ten pages of it', async () => {
      for (let i = 0; i < 10; i++) JSON.stringify(await crowd.rollouts.detail(last));
    });
    await measured('a report of each', () => crowd.reportAll());
    const { state, status } = await crowd.rollouts.detail(last);
    if (state.phase !== 'completed') throw new Error(`the rollout: ${status}`);
  } finally {
    await crowd.close();
    await folder.remove();
  }
  return figures;
}

async function timed(work: () => Promise<unknown>): Promise<Omit<EngineFigures, 'devices' | 'what'>> {
  const cpu = cpuMs();
  const began = performance.now();
  let former = cpu;
  const stretches: number[] = [];
  const ticking = setInterval(() => {
    const now = cpuMs();
    stretches.push(now - former);
    former = now;
  }, tickMs);
  await work();
  clearInterval(ticking);
  stretches.push(cpuMs() - former);
  const sorted = stretches.sort((a, b) => a - b);
  return {
    ...{ seconds: (performance.now() - began) / 1000, cpuMs: cpuMs() - cpu },
    ...{ stretchP99Ms: sorted[Math.floor(0.99 * sorted.length)] ?? 0, stretchMaxMs: sorted.at(-1) ?? 0 },
  };
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
