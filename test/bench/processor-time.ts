// Processor time of a program and all that descends from it, as Linux counts it: unlike a rate it stays true while something
// else has the cores.
import { readFileSync } from 'node:fs';
import { processTree } from '../support/serving.ts';

/** Of the kernel's clock in /proc. */
const tickMs = 10;

/** In user and in system mode, in milliseconds; undefined where the system does not tell. What has ended does not count. */
export async function processorMs(pid: number): Promise<number | undefined> {
  if (process.platform !== 'linux') return undefined;
  let ticks = 0;
  for (const id of (await processTree(pid)).keys()) ticks += ticksOf(id);
  return ticks * tickMs;
}

/** The 14th and 15th field, counted behind the name, which may hold anything. */
function ticksOf(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  } catch {
    return 0; // It ended between two looks.
  }
}
