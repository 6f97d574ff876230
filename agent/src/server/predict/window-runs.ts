// The windows of a recording, run one after the other: what one says may go into the next.
import type { LoadedModel } from '../../inference/engine.ts';
import { orderInputs } from '../../inference/queueing/input-order.ts';
import type { Run } from './rows-apart.ts';
import type { WindowSeries } from './sound.ts';

export function runWindows({ signature }: LoadedModel, series: WindowSeries): Run {
  return async (first, submit) => {
    let { outputs, queueMs, runMs, runRows } = await submit(first);
    for (let inputs = series.next(outputs); inputs; inputs = series.next(outputs)) {
      const result = await submit(orderInputs(signature, inputs));
      outputs = result.outputs;
      queueMs += result.queueMs;
      runMs += result.runMs;
      runRows ||= result.runRows;
    }
    return { outputs: series.outputs(), queueMs, runMs, runRows };
  };
}
