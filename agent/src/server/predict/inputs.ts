// A request for people -> the tensors of the model.
import { AppError } from '@edgeloop/shared/errors';
import { tensorOf } from '@edgeloop/shared/meaning/constant-inputs';
import type { Placement, Size } from '@edgeloop/shared/meaning/picture-placement';
import type { NamedTensor } from '@edgeloop/shared/tensor-data';
import type { LoadedModel } from '../../inference/engine.ts';
import { featureTensors, type MissingFeature } from './features.ts';
import { suggestion } from './names.ts';
import type { Payload } from './payload.ts';
import { pixelTensor } from './pixels.ts';
import { type Sound, soundOf, soundTensor, type WindowSeries, windowSeries } from './sound.ts';
import { type Tokens, tokensOf } from './tokens.ts';

export interface Inputs {
  tensors: NamedTensor[];
  rows: number;
  /** Features without a value. */
  missing: readonly MissingFeature[];
  /** How the picture came into the tensor, if there is one. */
  placement: Placement | undefined;
  /** Of the picture as the model sees it. */
  size: Size | undefined;
  /** The texts, if there are some. */
  tokens: Tokens | undefined;
  /** The recording, if there is one, and its windows, if it is taken so. */
  sound: Sound | undefined;
  windows: WindowSeries | undefined;
}

/** Throws `invalid_request` naming the feature or the input that is wrong. */
export async function inputsOf(payload: Payload, model: LoadedModel): Promise<Inputs> {
  const { interpretation, files } = model;
  const { featureInputs, pictures, sounds, texts } = interpretation;
  if (featureInputs.length > 0 && !payload.rows) throw missing('features');
  if (pictures.length + sounds.length > 0 && !payload.file) throw missing('a file');
  if (texts && !payload.texts) throw missing('a text');
  if (!texts && payload.texts) throw new AppError('invalid_request', 'the model takes no text');
  if (texts && payload.rows && payload.rows.length !== payload.texts?.length) {
    throw new AppError('invalid_request', 'the request needs as many texts as rows of features');
  }
  if (featureInputs.length === 0 && payload.rows) throw noFeatures(files.name);
  const { tensors, missing: missingFeatures } = featureTensors(payload.rows ?? [], model, payload.single);
  let placement: Placement | undefined;
  let size: Size | undefined;
  for (const picture of pictures) {
    // The decoder is 20 MB and a tenth of a second of every start, so it comes with the first picture.
    const { fitPicture } = await import('./picture.ts');
    const fitted = await fitPicture(payload.file?.bytes ?? Buffer.alloc(0), picture.image);
    tensors.push(pixelTensor(fitted.rgb, picture, fitted.size));
    placement ??= fitted.placement;
    size ??= fitted.size;
  }
  const tokens = texts && payload.texts && (await tokensOf(payload.texts, texts));
  tensors.push(...(tokens?.tensors ?? []));
  let sound: Sound | undefined;
  for (const input of sounds) {
    sound = await soundOf(payload.file?.bytes ?? Buffer.alloc(0), input);
    if (!input.windows) tensors.push(soundTensor(sound, input));
  }
  const windowed = sounds.find(({ windows }) => windows);
  const given = new Set([...tensors.map(({ name }) => name), ...(windowed ? [windowed.spec.name] : [])]);
  const others = [...tensors, ...otherInputs(payload, model, given)];
  const { states } = interpretation;
  const windows =
    windowed?.windows && sound
      ? windowSeries({ input: { ...windowed, windows: windowed.windows }, sound, others, states })
      : undefined;
  return {
    tensors: windows?.first ?? others,
    rows: windows?.count ?? payload.rows?.length ?? payload.texts?.length ?? 1,
    missing: missingFeatures,
    placement,
    size,
    tokens,
    sound,
    windows,
  };
}

function missing(what: string): AppError {
  return new AppError('invalid_request', `the model takes ${what}, the request has none`);
}

function noFeatures(model: string): AppError {
  const message = `the manifest of model "${model}" names no features; use POST /v2/models/${model}/infer`;
  return new AppError('invalid_request', message);
}

/** What the caller gives whole, or else the constants of the manifest. */
function otherInputs(
  { inputs }: Payload,
  { interpretation, signature, files }: LoadedModel,
  given: Set<string>,
): NamedTensor[] {
  const open = signature.inputs.filter(({ name }) => !given.has(name));
  const names = open.map(({ name }) => name);
  const unknown = Object.keys(inputs).find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new AppError('invalid_request', `unknown input "${unknown}"${suggestion(unknown, names)}`);
  }
  return open.map((spec) => {
    if (!Object.hasOwn(inputs, spec.name)) {
      const constant = interpretation.constants.get(spec.name);
      if (constant) return constant;
      if (given.size === 0 && interpretation.constants.size === 0) throw noFeatures(files.name);
      const hint = 'send it in "inputs", or give it a "value" in the manifest';
      throw new AppError('invalid_request', `input "${spec.name}" [${spec.shape}] is missing: ${hint}`);
    }
    const tensor = tensorOf(spec, inputs[spec.name]);
    if (typeof tensor === 'string') throw new AppError('invalid_request', `inputs.${spec.name}: ${tensor}`);
    return tensor;
  });
}
