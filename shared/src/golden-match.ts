// Whether outputs reproduce golden samples. Apart from their schema, so that worker threads can judge without loading it.
import type { GoldenSamples } from './golden.ts';
import type { JsonTensor } from './tensors.ts';

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
