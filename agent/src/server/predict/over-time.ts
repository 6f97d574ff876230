// The answer of a recording that was taken window by window: what its rows say, with times.
import type { LoadedModel } from '../../inference/engine.ts';
import type { Inputs } from './inputs.ts';
import { segmentsOf } from './timeline.ts';

/** `recording`, `windows` with `start` and `end` in seconds, and `segments` where windows can say the same. */
export function overTime(told: object, { windows: series, sound }: Inputs, { files }: LoadedModel): object {
  if (!series || !sound) return told;
  const { threshold, segments: rules } = files.manifest.outputs;
  const predictions = 'predictions' in told && Array.isArray(told.predictions) ? told.predictions : undefined;
  const { predictions: _, ...rest } = { predictions, ...told };
  const windows = Array.from({ length: series.count }, (_, at) => ({ ...series.times(at), ...predictions?.[at] }));
  const segments = segmentsOf(windows, threshold, rules);
  return {
    recording: { seconds: sound.seconds, sampleRate: sound.sampleRate },
    windows,
    ...(segments && { segments }),
    ...rest,
  };
}
