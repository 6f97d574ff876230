// What devices saw of one version in a range of time, for people and programs that look at more than a chart.
import type { WindowQuery, WindowResult } from '@edgeloop/shared/api/windows';
import { AppError } from '@edgeloop/shared/errors';
import { binsWithEdges, type ValueSketch, valuesIn } from '@edgeloop/shared/sketches/value-sketch';
import type { Telemetry } from './telemetry.ts';
import { instantOf } from './time-buckets.ts';

const hourMs = 3_600_000;

export async function readSeen(
  telemetry: Pick<Telemetry, 'merged'>,
  { model, version, device, to, from }: WindowQuery,
  now: number,
): Promise<WindowResult> {
  const end = instantOf(to, now) ?? now;
  const begin = instantOf(from, now) ?? end - hourMs;
  if (begin >= end) throw new AppError('invalid_request', 'from must be before to');
  const devices = device === undefined ? undefined : [device];
  const merged = await telemetry.merged({ model, version, devices, from: begin, to: end });
  if (merged === undefined) return { from: begin, to: end, windows: 0, window: null, signals: {} };
  const { signals = {}, ...window } = merged.window;
  const told = Object.entries(signals).map(([name, sketch]) => [name, signalOf(sketch)] as const);
  return { from: begin, to: end, windows: merged.windows, window, signals: Object.fromEntries(told) };
}

function signalOf(sketch: ValueSketch): WindowResult['signals'][string] {
  const count = valuesIn(sketch);
  const { missing, sum, min, max } = sketch;
  return { count, missing, mean: min === null ? null : sum / count, min, max, bins: binsWithEdges(sketch) };
}
