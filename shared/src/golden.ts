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

/** Why `got` does not reproduce `expected`, or undefined when it does. */
export function mismatch(
  name: string,
  expected: JsonTensor,
  got: JsonTensor,
  tolerance: GoldenSamples['tolerance'],
): string | undefined {
  if (expected.datatype !== got.datatype)
    return `output "${name}" has datatype ${got.datatype}, expected ${expected.datatype}`;
  if (expected.shape.join() !== got.shape.join())
    return `output "${name}" has shape [${got.shape}], expected [${expected.shape}]`;
  if (expected.data.length !== got.data.length)
    return `output "${name}" has ${got.data.length} values, expected ${expected.data.length}`;
  const at = expected.data.findIndex((value, i) => !closeEnough(value, got.data[i], tolerance));
  return at === -1 ? undefined : `output "${name}" value ${at} is ${got.data[at]}, expected ${expected.data[at]}`;
}

function closeEnough(
  expected: JsonTensor['data'][number],
  got: JsonTensor['data'][number] | undefined,
  tolerance: GoldenSamples['tolerance'],
): boolean {
  if (expected === got) return true;
  if (typeof expected !== 'number' || typeof got !== 'number') return false;
  return Math.abs(got - expected) <= tolerance.absolute + tolerance.relative * Math.abs(expected);
}
