// Golden samples: inputs with the outputs a model must reproduce wherever it runs.
import { z } from 'zod';
import { JsonTensor } from './tensors.ts';

export const GoldenSamples = z.strictObject({
  /** A value passes when |got - expected| <= absolute + relative * |expected|. */
  tolerance: z
    .strictObject({ absolute: z.number().min(0).default(1e-4), relative: z.number().min(0).default(1e-3) })
    .prefault({}),
  samples: z
    .array(z.strictObject({ inputs: z.record(z.string(), JsonTensor), outputs: z.record(z.string(), JsonTensor) }))
    .max(64),
});
export type GoldenSamples = z.infer<typeof GoldenSamples>;

/** Largest golden samples file that is read, in bytes. */
export const maxGoldenBytes = 16 * 1024 * 1024;
