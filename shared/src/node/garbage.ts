// What starting a program leaves in the heap of its first thread, and the room for new objects that it needed, are given back
// once it has come to rest: some 10 MB of a process that then waits most of the time.
import { Session } from 'node:inspector';
import { performance } from 'node:perf_hooks';

/** Less than this is not worth it. */
const worthItBytes = 2 * 1024 * 1024;
const looksEveryMs = 1000;
/** Of its time; what looks around in this program takes less. */
const atRest = 0.05;
/** A collection takes tens of milliseconds; whoever asks now and then meets one seldom. */
const seldomMs = 300_000;

/** From now on, when this thread had next to nothing to do and much has come together. Keeps no process alive. */
export function collectGarbageAtRest(): void {
  let before = performance.eventLoopUtilization();
  let keptBytes = 0;
  let waitMs = looksEveryMs;
  const look = async (): Promise<void> => {
    if (performance.eventLoopUtilization(before).utilization < atRest) {
      waitMs = Math.min(2 * waitMs, seldomMs);
      if (process.memoryUsage().heapTotal >= keptBytes + worthItBytes) {
        await collect();
        keptBytes = process.memoryUsage().heapTotal;
      }
    }
    before = performance.eventLoopUtilization();
    setTimeout(look, waitMs).unref();
  };
  setTimeout(look, waitMs).unref();
}

/** As when memory is short: the usual collection keeps the room for new objects. */
function collect(): Promise<void> {
  const session = new Session();
  session.connect();
  return new Promise((resolve) => {
    session.post('HeapProfiler.collectGarbage', () => {
      // Not at once: it would wait for this very answer for ever.
      setImmediate(() => {
        session.disconnect();
        resolve();
      });
    });
  });
}
