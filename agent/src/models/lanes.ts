// Work on many models beside each other: some at a time, as many as this machine does well.
import { availableParallelism } from 'node:os';

const lanes = Math.max(2, availableParallelism());

/** Does `work` for each name. Rejects with the first failure; the other lanes go on. */
export async function inLanes(names: readonly string[], work: (name: string) => Promise<void>): Promise<void> {
  const left = [...names];
  const lane = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) await work(name);
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}
