// Inputs that hold a picture or a recording: whether the tensor can, and in which shape.
import type { ImageInput } from '../image-manifest.ts';
import type { AudioInput, InputManifest } from '../manifest.ts';
import type { TensorSpec } from '../tensors.ts';
import { reject } from './rejection.ts';

export interface PictureInput {
  spec: TensorSpec;
  image: ImageInput;
  /** The tensor of one picture; of the largest one where it may be smaller. */
  shape: readonly number[];
}

export interface SoundInput {
  spec: TensorSpec;
  /** Samples a second. */
  sampleRate: number;
  /** Whether recordings of another rate are resampled. */
  resample: boolean;
  /** How many it takes at once; any number when undefined. */
  samples: number | undefined;
  /** Set when recordings are taken window by window. */
  windows: SoundWindows | undefined;
}

export interface SoundWindows {
  /** Samples of a window, and of these the ones before its time. */
  samples: number;
  context: number;
  /** Samples from one window to the next. */
  hop: number;
}

/** Channels of the picture as the model sees it. */
export function channelsOf({ color }: ImageInput): number {
  return color === 'gray' ? 1 : 3;
}

/** Throws `model_rejected` when the tensor has no place for such a picture. */
export function pictureInput(spec: TensorSpec, image: ImageInput): PictureInput {
  const field = `inputs.${spec.name}.image`;
  const { width, height, layout, mean, std, scale } = image;
  const channels = channelsOf(image);
  for (const name of ['padColor', 'padAt'] as const) {
    if (image[name] !== undefined && image.crop !== 'pad') throw reject(`${field}.${name}`, 'is for "crop": "pad"');
  }
  const planes = layout === 'nchw' ? [channels, height, width] : [height, width, channels];
  const shapes = [
    [1, ...planes],
    planes,
    ...(channels === 1
      ? [
          [1, height, width],
          [height, width],
        ]
      : []),
  ];
  const fits = (shape: readonly number[]): boolean =>
    shape.length === spec.shape.length && shape.every((dim, i) => spec.shape[i] === -1 || spec.shape[i] === dim);
  const shape = spec.shape.length === 0 ? shapes[0] : shapes.find(fits);
  if (image.crop === 'inside' && spec.shape.filter((dim) => dim === -1).length < 2)
    throw reject(`${field}.crop`, `"inside" is for inputs of any height and width, this one is [${spec.shape}]`);
  if (!shape) throw reject(field, `[${shapes[0]}] does not fit the input [${spec.shape}]`);
  if (!['FP32', 'FP16', 'UINT8'].includes(spec.datatype)) {
    throw reject(field, `pictures are given to FP32, FP16 and UINT8 inputs, this one is ${spec.datatype}`);
  }
  if (spec.datatype === 'UINT8' && (scale !== 1 || mean.length > 0 || std.length > 0)) {
    throw reject(field, 'a UINT8 input takes the pixels as they are: leave out scale, mean and std');
  }
  for (const [name, { length }] of Object.entries({ mean, std })) {
    if (length > 1 && length !== channels)
      throw reject(`${field}.${name}`, `${length} values for ${channels} channels`);
  }
  return { spec, image, shape };
}

/** Throws `model_rejected` when the tensor is not a row of samples. */
export function soundInput(spec: TensorSpec, audio: AudioInput): SoundInput {
  const { sampleRate, samples, resample = true } = audio;
  const field = `inputs.${spec.name}.audio`;
  if (!/^(FP32|FP16|FP64)$/.test(spec.datatype)) {
    throw reject(field, `samples are given to floating point inputs, this one is ${spec.datatype}`);
  }
  if (spec.shape.slice(0, -1).some((dim) => dim !== 1 && dim !== -1)) {
    throw reject(field, `samples of one channel do not fit the input [${spec.shape}]`);
  }
  const last = spec.shape.at(-1);
  const fixed = last === -1 ? undefined : last;
  if (samples !== undefined && fixed !== undefined && samples !== fixed) {
    throw reject(`${field}.samples`, `${samples} does not fit the input [${spec.shape}]`);
  }
  const taken = fixed ?? samples;
  return { spec, sampleRate, resample, samples: taken, windows: soundWindows(field, audio, taken) };
}

function soundWindows(
  field: string,
  { hop, context }: AudioInput,
  samples: number | undefined,
): SoundWindows | undefined {
  if (hop === undefined) {
    if (context !== undefined) throw reject(`${field}.context`, 'is for windows: give a "hop"');
    return undefined;
  }
  if (samples === undefined) throw reject(`${field}.hop`, 'needs "samples", how long a window is');
  if (context !== undefined && context >= samples)
    throw reject(`${field}.context`, `leaves nothing of ${samples} samples`);
  return { samples, context: context ?? 0, hop };
}

/** Throws `model_rejected` when one input is said to be several things. */
export function checkOneMeaning(name: string, { features, image, audio, text, value, state }: InputManifest): void {
  // A state may have a value to begin with.
  const said = Object.entries({
    features,
    image,
    audio,
    text,
    ...(state === undefined ? { value } : { state }),
  }).flatMap(([what, set]) => (set === undefined ? [] : [what]));
  if (said.length > 1) throw reject(`inputs.${name}`, `give one of ${said.join(' and ')}, not both`);
}
