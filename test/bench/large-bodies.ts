// What a byte costs in a large body beside a small one: memory that each request takes anew from the system shows here.
import { identity } from '../support/onnx-models.ts';
import { binaryRequest } from './contestants.ts';
import { withServer } from './footprint.ts';
import type { LoadGenerator } from './load.ts';
import { type BenchModel, writeBenchModels } from './models.ts';

const echo = (elements: number): BenchModel => ({
  name: 'echo',
  input: 'x',
  shape: [elements],
  bytes: identity('float', ['n']),
});
const [small, large] = [echo(2 ** 18), echo(2 ** 21)];

/** Bytes a second in bodies of 8 MiB over those of 1 MiB, one entry a round; binary, 4 callers, echoed. */
export function measureLargeBodies(load: LoadGenerator, rounds: number, durationMs: number): Promise<number[]> {
  const write = (folder: string) => writeBenchModels(folder, [small]);
  return withServer(write, async ({ port }) => {
    const bytesPerSecond = async (model: BenchModel) => {
      const { answers, seconds } = await load.run({
        target: { port },
        callers: 4,
        durationMs,
        request: binaryRequest(model),
      });
      return (answers * (model.shape[0] ?? 0)) / seconds;
    };
    await bytesPerSecond(large);
    const ratios: number[] = [];
    for (let round = 0; round < rounds; round++) {
      ratios.push((await bytesPerSecond(large)) / (await bytesPerSecond(small)));
    }
    return ratios;
  });
}
