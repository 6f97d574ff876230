// The end of a process that is not stopped in time, whatever it does: work that never gives the event loop back stops no timer there.
import { Worker } from 'node:worker_threads';

/** Kills the process when it has not ended by itself until then; the watch is in a thread of its own and holds nobody up. */
export function endWithin(ms: number): void {
  const line = `edgeloop: not stopped within ${ms / 1000} s; ended, as nothing more can be waited for\n`;
  new Worker(
    `const { workerData } = require('node:worker_threads');
    setTimeout(() => {
      require('node:fs').writeSync(2, workerData.line);
      process.kill(process.pid, 'SIGKILL');
    }, workerData.ms);`,
    // Nothing of what the process itself was started with: its loaders would ask the event loop.
    { eval: true, execArgv: [], workerData: { line, ms } },
  ).unref();
}
