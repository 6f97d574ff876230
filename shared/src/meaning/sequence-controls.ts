// Inputs that tell a model where in its sequence a request stands: Triton's control inputs.
import type { Manifest, SequenceControls } from '../manifest.ts';
import type { NamedTensor } from '../tensor-data.ts';
import type { ModelSignature, TensorSpec } from '../tensors.ts';
import { tensorOf } from './constant-inputs.ts';
import { listed, reject } from './rejection.ts';

const flags = ['start', 'end', 'ready'] as const;
type Flag = (typeof flags)[number];

export type SequenceControl =
  | { kind: Flag; spec: TensorSpec; falseTrue: readonly [number, number]; tensors: readonly [NamedTensor, NamedTensor] }
  | { kind: 'id'; spec: TensorSpec };

/** Where a request stands. */
export interface SequencePlace {
  id: string;
  start: boolean;
  end: boolean;
}

/** In the order of the manifest's schema. Throws `model_rejected` naming the field that contradicts the model. */
export function sequenceControls({ inputs, sequences }: Manifest, signature: ModelSignature): SequenceControl[] {
  const controls: SequenceControls = sequences?.controls ?? {};
  const taken = new Map<string, string>();
  const specFor = (kind: keyof SequenceControls, name: string): TensorSpec => {
    const field = `sequences.controls.${kind}`;
    const spec = signature.inputs.find((each) => each.name === name);
    if (!spec) throw reject(field, `the model has no input "${name}"; it takes ${listed(signature.inputs)}`);
    const other = taken.get(name) ?? (inputs[name] === undefined ? undefined : `inputs.${name}`);
    if (other !== undefined) throw reject(field, `"${name}" is filled in by ${other}`);
    taken.set(name, field);
    return spec;
  };
  const found = flags.flatMap((kind): SequenceControl[] => {
    const control = controls[kind];
    if (control === undefined) return [];
    const { input, falseTrue = [0, 1] as const } = typeof control === 'string' ? { input: control } : control;
    const spec = specFor(kind, input);
    const tensors = [flagTensor(spec, falseTrue[0], kind), flagTensor(spec, falseTrue[1], kind)] as const;
    return [{ kind, spec, falseTrue, tensors }];
  });
  if (controls.id === undefined) return found;
  const spec = specFor('id', controls.id);
  const isId = /^(?:U?INT(?:8|16|32|64)|BYTES)$/.test(spec.datatype);
  if (!isId) throw reject('sequences.controls.id', `"${spec.name}" is ${spec.datatype}, which can hold no id`);
  return [...found, { kind: 'id', spec }];
}

function flagTensor(spec: TensorSpec, value: number, kind: Flag): NamedTensor {
  const isTruth = spec.datatype === 'BOOL' && (value === 0 || value === 1);
  const tensor = tensorOf(spec, isTruth ? value === 1 : value);
  if (typeof tensor === 'string') throw reject(`sequences.controls.${kind}`, `${value} for "${spec.name}": ${tensor}`);
  return tensor;
}

/** What these inputs hold for a request; a string says why one of them cannot. */
export function controlTensors(controls: readonly SequenceControl[], place: SequencePlace): NamedTensor[] | string {
  const tensors: NamedTensor[] = [];
  for (const control of controls) {
    const tensor = control.kind === 'id' ? idTensor(control.spec, place.id) : flagOf(control, place);
    if (typeof tensor === 'string') return tensor;
    tensors.push(tensor);
  }
  return tensors;
}

function flagOf({ kind, tensors }: Extract<SequenceControl, { kind: Flag }>, place: SequencePlace): NamedTensor {
  return tensors[kind === 'ready' || place[kind] ? 1 : 0];
}

function idTensor(spec: TensorSpec, id: string): NamedTensor | string {
  const { name, datatype } = spec;
  const isText = datatype === 'BYTES';
  if (!isText && !/^\d+$/.test(id))
    return `the id "${id}" is no whole number, which input "${name}" (${datatype}) asks for`;
  const tensor = tensorOf(spec, isText ? id : Number(id));
  return typeof tensor === 'string' ? `the id ${id} for input "${name}" ${tensor}` : tensor;
}
