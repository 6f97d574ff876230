// What the runs of a thread leave behind is collected when it runs again. One that has nothing to do would keep hundreds of
// megabytes for ever, for a large output is one small object to the collector.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const worthItBytes = 64 * 1024 * 1024;
let collect: (() => void) | undefined;
/** What was still in use after the last time. */
let keptBytes = 0;

/** When much has come together outside of this thread's heap; to be called when it has come to rest. */
export function collectGarbage(): void {
  if (process.memoryUsage().external < keptBytes + worthItBytes) return;
  collect ??= collector();
  collect();
  keptBytes = process.memoryUsage().external;
}

function collector(): () => void {
  setFlagsFromString('--expose-gc');
  const found: unknown = runInNewContext('gc');
  return typeof found === 'function' ? () => void found() : () => undefined;
}
