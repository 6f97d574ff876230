// What becomes of features that have no value in a request: a default, NaN, or a refusal.
import type { InputManifest } from '../manifest.ts';
import { encodeElements, isBadElement, type NamedTensor, numbersOf } from '../tensor-data.ts';
import type { TensorSpec } from '../tensors.ts';
import { reject } from './rejection.ts';

export interface MissingValues {
  /** By the name of the feature. */
  defaults: ReadonlyMap<string, unknown>;
  /** `try`: NaN, unless the model then answers NaN. */
  otherwise: 'nan' | 'try' | 'refuse';
}

const floats = /^FP/;

/** Throws `model_rejected` naming the field of the manifest that the input does not allow. */
export function missingValues(spec: TensorSpec, { features, defaults, missing }: InputManifest): MissingValues {
  const field = `inputs.${spec.name}`;
  if (!features && (defaults || missing)) {
    throw reject(`${field}.${defaults ? 'defaults' : 'missing'}`, 'is for inputs with "features"');
  }
  for (const [name, value] of Object.entries(defaults ?? {})) {
    if (!features?.includes(name)) throw reject(`${field}.defaults`, `names "${name}", which is none of the features`);
    const data = encodeElements(spec.datatype, [value]);
    if (isBadElement(data)) throw reject(`${field}.defaults.${name}`, `must be ${data.expected} (${spec.datatype})`);
  }
  const isFloat = floats.test(spec.datatype);
  if (missing === 'nan' && !isFloat) throw reject(`${field}.missing`, `${spec.datatype} has no NaN; give "defaults"`);
  return { defaults: new Map(Object.entries(defaults ?? {})), otherwise: missing ?? (isFloat ? 'try' : 'refuse') };
}

/** The output that is NaN all over in this one of the rows. */
export function unansweredBy(outputs: readonly NamedTensor[], row: number, rows: number): NamedTensor | undefined {
  return outputs.find((output) => {
    const values = floats.test(output.datatype) ? numbersOf(output) : undefined;
    const width = (values?.length ?? 0) / rows;
    if (!values || width === 0 || !Number.isInteger(width)) return false;
    for (let at = row * width; at < (row + 1) * width; at++) if (!Number.isNaN(values[at])) return false;
    return true;
  });
}
