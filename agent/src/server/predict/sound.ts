// Recordings -> tensors: the whole one at once, or window by window with what the model carries on between them.
import { AppError } from '@edgeloop/shared/errors';
import type { SoundInput, SoundWindows } from '@edgeloop/shared/meaning/media-inputs';
import { encodeElements, isBadElement, type NamedTensor, type TensorData } from '@edgeloop/shared/tensor-data';
import { viewOf } from '../../inference/typed-arrays.ts';
import { resampled } from './resample.ts';
import { decodeWav } from './wav.ts';

/** Each is a run of the model. */
const maxWindows = 20_000;
/** Of the outputs of all windows. */
const maxOutputBytes = 64 * 1024 * 1024;

export interface Sound {
  /** At the rate of the model. */
  samples: Float32Array;
  /** Of the recording as it came. */
  sampleRate: number;
  seconds: number;
}

/** Throws `invalid_request` for what is no recording, or one of another rate where the manifest refuses those. */
export async function soundOf(bytes: Buffer, { sampleRate, resample }: SoundInput): Promise<Sound> {
  const recording = decodeWav(bytes);
  if (recording.sampleRate !== sampleRate && !resample) {
    const reason = `the recording has ${recording.sampleRate} samples a second, the model takes ${sampleRate}`;
    throw new AppError('invalid_request', `${reason}, and its manifest says not to resample`);
  }
  if (recording.samples.length === 0) throw new AppError('invalid_request', 'the recording has no samples');
  return {
    samples: await resampled(recording.samples, recording.sampleRate, sampleRate),
    sampleRate: recording.sampleRate,
    seconds: recording.samples.length / recording.sampleRate,
  };
}

/** The whole recording. */
export function soundTensor({ samples }: Sound, { spec, sampleRate, samples: wanted }: SoundInput): NamedTensor {
  if (wanted !== undefined && wanted !== samples.length) {
    const takes = `the model takes ${wanted} (${wanted / sampleRate} s); "hop" in its manifest would take any length`;
    throw new AppError('invalid_request', `the recording has ${samples.length} samples, ${takes}`);
  }
  return tensorOfSamples(spec, samples);
}

function tensorOfSamples(spec: SoundInput['spec'], samples: Float32Array): NamedTensor {
  const data = spec.datatype === 'FP32' ? samples : encodeElements(spec.datatype, Array.from(samples));
  if (isBadElement(data)) throw new AppError('invalid_request', `sample ${data.at} must be ${data.expected}`);
  const leading = spec.shape.length === 0 ? [1] : spec.shape.slice(0, -1).map(() => 1);
  return { name: spec.name, datatype: spec.datatype, shape: [...leading, samples.length], data };
}

/** A recording as a series of runs. */
export interface WindowSeries {
  /** Inputs of the run after that with these outputs; undefined after the last one. */
  next(outputs: readonly NamedTensor[]): NamedTensor[] | undefined;
  /** Of all runs together. */
  outputs(): NamedTensor[];
  /** Inputs of the first run: the window, and all others as they are. */
  first: NamedTensor[];
  count: number;
  /** In seconds of the recording. */
  times(at: number): { start: number; end: number };
}

export interface Windowed {
  input: SoundInput & { windows: SoundWindows };
  sound: Sound;
  /** All other inputs of the model: those of the first window. */
  others: readonly NamedTensor[];
  /** The output by the name of the input that gets it in the next window. */
  states: ReadonlyMap<string, string>;
}

/** The last window is filled up with silence. Throws `payload_too_large` for too many. */
export function windowSeries({ input, sound, others, states }: Windowed): WindowSeries {
  const { spec, sampleRate } = input;
  const { samples, context, hop } = input.windows;
  const own = samples - context;
  const length = sound.samples.length;
  const count = 1 + Math.max(0, Math.ceil((length - own) / hop));
  if (count > maxWindows) {
    throw new AppError('payload_too_large', `the recording makes ${count} windows, up to ${maxWindows} are taken`);
  }
  const carried = new Set(states.values());
  const collected: NamedTensor[][] = [];
  let bytes = 0;
  const windowAt = (at: number): NamedTensor => {
    const window = new Float32Array(samples);
    const start = at * hop - context;
    const from = Math.max(0, start);
    window.set(sound.samples.subarray(from, Math.min(length, start + samples)), from - start);
    return tensorOfSamples(spec, window);
  };
  return {
    first: [windowAt(0), ...others],
    count,
    times: (at) => ({
      start: (at * hop) / sampleRate,
      end: Math.min(sound.seconds, (at * hop + own) / sampleRate),
    }),
    next(outputs) {
      const kept = outputs.filter(({ name }) => !carried.has(name));
      bytes += kept.reduce((sum, { data }) => sum + (Array.isArray(data) ? data.length * 16 : data.byteLength), 0);
      if (bytes > maxOutputBytes) {
        const message = `the outputs of ${count} windows take more than ${maxOutputBytes} bytes; send less at once`;
        throw new AppError('payload_too_large', message);
      }
      collected.push(kept);
      if (collected.length === count) return undefined;
      const carriedOn = others.map((other) => {
        const output = outputs.find(({ name }) => name === states.get(other.name));
        return output ? { ...output, name: other.name } : other;
      });
      return [windowAt(collected.length), ...carriedOn];
    },
    outputs: () => (collected[0] ?? []).map((_, place) => joined(collected.flatMap((outputs) => outputs[place] ?? []))),
  };
}

/** One tensor with a row for each of these. */
function joined(tensors: readonly NamedTensor[]): NamedTensor {
  const [first] = tensors;
  if (!first) throw new AppError('internal', 'a series of no windows');
  const { name, datatype, shape } = first;
  if (tensors.some((each) => each.data.length !== first.data.length)) {
    throw new AppError('internal', `output "${name}" has another length in each window`);
  }
  const rest = shape[0] === 1 ? shape.slice(1) : shape;
  return { name, datatype, shape: [tensors.length, ...rest], data: joinedData(tensors) };
}

function joinedData(tensors: readonly NamedTensor[]): TensorData {
  const [first] = tensors;
  if (!first || first.datatype === 'BYTES') return tensors.flatMap(({ data }) => (Array.isArray(data) ? data : []));
  const parts = tensors.flatMap(({ data }) =>
    Array.isArray(data) ? [] : [new Uint8Array(data.buffer, data.byteOffset, data.byteLength)],
  );
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return viewOf(first.datatype, bytes.buffer);
}
