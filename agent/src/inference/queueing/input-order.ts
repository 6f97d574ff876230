// Inputs of a request against what the model takes.
import { AppError } from '@edgeloop/shared/errors';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { ModelSignature, TensorSpec } from '@edgeloop/shared/tensors';

/**
 * The inputs in the order of the signature, checked against it: names, datatypes, shapes. Throws `invalid_request`
 * naming the input.
 */
export function orderInputs({ inputs: specs }: ModelSignature, inputs: readonly NamedTensor[]): readonly NamedTensor[] {
  // Most callers send them in order, and then nothing need be made.
  const inOrder = inputs.length === specs.length && specs.every(({ name }, place) => inputs[place]?.name === name);
  const ordered = inOrder ? inputs : reordered(specs, inputs);
  for (const [place, spec] of specs.entries()) check(spec, ordered[place]);
  return ordered;
}

function reordered(specs: readonly TensorSpec[], inputs: readonly NamedTensor[]): NamedTensor[] {
  const given = new Map<string, NamedTensor>();
  for (const input of inputs) {
    if (given.has(input.name)) throw new AppError('invalid_request', `input "${input.name}" is given twice`);
    given.set(input.name, input);
  }
  const known = specs.map(({ name }) => name);
  const unknown = inputs.find(({ name }) => !known.includes(name));
  if (unknown) throw new AppError('invalid_request', `unknown input "${unknown.name}"; the model takes ${list(known)}`);
  return known.map((name) => {
    const input = given.get(name);
    if (!input) throw new AppError('invalid_request', `input "${name}" is missing`);
    return input;
  });
}

function check(spec: TensorSpec, input: NamedTensor | undefined): void {
  if (input?.datatype !== spec.datatype) {
    const message = `input "${spec.name}" is ${input?.datatype}, the model takes ${spec.datatype}`;
    throw new AppError('invalid_request', message);
  }
  if (fits(input.shape, spec.shape)) return;
  const message = `input "${spec.name}" has shape [${input.shape}], the model takes [${spec.shape}] (-1: any)`;
  throw new AppError('invalid_request', message);
}

/** ONNX files may leave a shape unsaid, which reads as no dimensions; ONNX Runtime judges those itself. */
function fits(shape: readonly number[], spec: readonly number[]): boolean {
  if (spec.length === 0) return true;
  return shape.length === spec.length && spec.every((dim, i) => dim === -1 || dim === shape[i]);
}

function list(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(', ');
}
