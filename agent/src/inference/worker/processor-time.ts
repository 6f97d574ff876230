// How long a thread or a process has had the processor, as Linux counts it. A machine that stands still or is busy with
// other things uses up none of it, so it tells what takes long from what is not let on.
import { readFileSync, readlinkSync } from 'node:fs';

/** Of the kernel's clock in /proc, on all machines that Node runs on. */
const tickMs = 10;

/** What Linux calls the thread that asks; undefined elsewhere. */
export function presentTaskId(): number | undefined {
  try {
    const id = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
    return Number.isInteger(id) ? id : undefined;
  } catch {
    return undefined; // Not Linux.
  }
}

/** Milliseconds of a thread, of this process when `pid` is not given; undefined where it is not told. */
export function threadTimeMs(taskId: number | undefined, pid: number | 'self' = 'self'): number | undefined {
  return taskId === undefined ? undefined : timeIn(`/proc/${pid}/task/${taskId}/stat`);
}

/** Milliseconds of all threads of a process; undefined where it is not told. */
export function processTimeMs(pid: number | undefined): number | undefined {
  return pid === undefined ? undefined : timeIn(`/proc/${pid}/stat`);
}

/** In user and in system mode: the 14th and 15th field, counted behind the name, which may hold anything. */
function timeIn(path: string): number | undefined {
  try {
    const text = readFileSync(path, 'latin1');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return Number.isFinite(ticks) ? ticks * tickMs : undefined;
  } catch {
    return undefined; // It is gone, or this is not Linux.
  }
}
