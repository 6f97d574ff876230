// Runs a model's golden samples: proof that it computes on this device what it computed where it was made.
import { AppError, messageOf } from '@edgeloop/shared/app-error';
import type { GoldenSamples } from '@edgeloop/shared/golden';
import { mismatch } from '@edgeloop/shared/golden-match';
import { tensorFromJson, tensorToJson } from '@edgeloop/shared/tensor-data';
import type { Session } from './session.ts';

/** Throws `model_rejected` naming the sample and the first value that does not reproduce. */
export async function proveGolden(session: Pick<Session, 'run'>, golden: GoldenSamples): Promise<void> {
  for (const [at, sample] of golden.samples.entries()) {
    const reason = await failureOf(session, sample, golden.tolerance);
    if (reason !== undefined) throw new AppError('model_rejected', `golden sample ${at}: ${reason}`);
  }
}

async function failureOf(
  session: Pick<Session, 'run'>,
  sample: GoldenSamples['samples'][number],
  tolerance: GoldenSamples['tolerance'],
): Promise<string | undefined> {
  try {
    const inputs = Object.entries(sample.inputs).map(([name, tensor]) => tensorFromJson({ name, ...tensor }));
    const outputs = new Map((await session.run(inputs)).map((output) => [output.name, output]));
    for (const [name, expected] of Object.entries(sample.outputs)) {
      const got = outputs.get(name);
      if (!got) return `the model has no output "${name}"`;
      const reason = mismatch(name, expected, tensorToJson(got), tolerance);
      if (reason !== undefined) return reason;
    }
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
