// Inputs that get what an output was before: in the window of a recording before this one, in the last request of a sequence.
import type { Manifest } from '../manifest.ts';
import type { ModelSignature } from '../tensors.ts';
import type { SoundInput } from './media-inputs.ts';
import { listed, reject } from './rejection.ts';

/** The output by the name of its input. Throws `model_rejected` naming the field that contradicts the model. */
export function carriedStates(
  { inputs, sequences }: Manifest,
  signature: ModelSignature,
  sounds: readonly SoundInput[],
): Map<string, string> {
  const windowed = sounds.filter(({ windows }) => windows);
  const [, second] = windowed;
  if (second) throw reject(`inputs.${second.spec.name}.audio.hop`, 'one input alone can be taken window by window');
  const states = new Map<string, string>();
  for (const [name, { state }] of Object.entries(inputs)) {
    if (state === undefined) continue;
    const field = `inputs.${name}.state`;
    const output = signature.outputs.find((each) => each.name === state);
    if (!output) throw reject(field, `the model has no output "${state}"; it has ${listed(signature.outputs)}`);
    const input = signature.inputs.find((each) => each.name === name);
    const fits = ({ shape }: { shape: readonly number[] }): boolean =>
      shape.length === output.shape.length &&
      shape.every((dim, i) => dim === -1 || output.shape[i] === -1 || dim === output.shape[i]);
    const isKnown = input && input.shape.length > 0 && output.shape.length > 0;
    if (input?.datatype !== output.datatype || (isKnown && !fits(input))) {
      throw reject(
        field,
        `${listed([output])} ${output.datatype} can't become this ${input?.datatype} [${input?.shape}]`,
      );
    }
    states.set(name, state);
  }
  const isTold = Object.keys(sequences?.controls ?? {}).length > 0;
  if (sequences && states.size === 0 && !isTold)
    throw reject('sequences', 'is for a model with an input that has a "state", or with "controls"');
  if (isTold && windowed.length > 0)
    throw reject('sequences.controls', 'a recording that is taken window by window (audio.hop) is told of no sequence');
  return states;
}
