// Runs the golden samples of a loaded version where its requests run: in its threads, behind those who wait.
import { AppError } from '@edgeloop/shared/app-error';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { Engine, LoadedModel } from './engine.ts';
import { proveGolden } from './worker/golden-run.ts';

/** @throws AppError `model_rejected` when one does not reproduce; `unavailable` when it did not come to be run */
export async function rerunGolden(engine: Pick<Engine, 'lease'>, name: string, version: number): Promise<void> {
  const lease = engine.lease(name, version);
  try {
    const { golden } = lease.model.files;
    if (golden === undefined || golden.samples.length === 0) return;
    let hindered: unknown;
    const run = (inputs: readonly NamedTensor[]) =>
      runOne(lease.model, inputs).catch((error: unknown) => {
        // That it was not run, as when too many wait, says nothing of it.
        if (error instanceof AppError && error.code !== 'internal' && error.code !== 'invalid_request')
          hindered = error;
        throw error;
      });
    await proveGolden({ run }, golden).catch((error: unknown) => {
      throw hindered ?? error;
    });
  } finally {
    lease.release();
  }
}

async function runOne({ signature, batcher }: LoadedModel, inputs: readonly NamedTensor[]): Promise<NamedTensor[]> {
  const inOrder = signature.inputs.flatMap(({ name }) => inputs.find((input) => input.name === name) ?? []);
  return (await batcher.submit(inOrder)).outputs;
}
