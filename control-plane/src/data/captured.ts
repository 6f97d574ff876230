// Which captured samples are believed. They become training data, so a device can add only what it may have seen: of a
// release that it was told to run, whole, and not of the future. Pure.
import { clockBoundMs } from '@edgeloop/shared/clock';
import { AppError, messageOf, parse } from '@edgeloop/shared/errors';
import { plainText } from '@edgeloop/shared/plain-text';
import { CapturedSample } from '@edgeloop/shared/telemetry';
import type { Claim, Disregarded, Verdict } from '../fleet/fleet.ts';

type Reason = Exclude<Verdict, 'counted'> | 'malformed' | 'future' | 'features' | 'values';

export interface RefusedSample {
  /** Its place in the upload. */
  index: number;
  inferenceId: string | null;
  model: string | null;
  version: number | null;
  reason: Reason;
  message: string;
}

export interface CaptureResult {
  stored: number;
  refused: RefusedSample[];
}

/** A sample as it came, or why it is none. */
export type Captured = { index: number } & (
  | { sample: CapturedSample; claim: Claim }
  | { sample?: undefined; claim?: undefined; problem: string }
);

interface Judging {
  verdictOf: (claim: Claim) => Verdict;
  /** Values that a sample has, by `versionKey`. */
  counts: ReadonlyMap<string, number | undefined>;
  now: number;
}

/** By how much a device's clock may be ahead. */
const aheadMs = 86_400_000;

export function readCaptured(value: unknown, { index, deviceId }: { index: number; deviceId: string }): Captured {
  try {
    const sample = placed(parse(CapturedSample, value, `samples.${index}`));
    const { model, version, release } = sample;
    return { index, sample, claim: { deviceId, model, version, release } };
  } catch (error) {
    return { index, problem: messageOf(error) };
  }
}

/** By this server's clock, where the device's is known to be wrong; as windows are. */
function placed(sample: CapturedSample): CapturedSample {
  const { clockOffsetMs: offsetMs = 0, predictedAt } = sample;
  if (Math.abs(offsetMs) <= clockBoundMs) return sample;
  return { ...sample, predictedAt: Math.max(0, predictedAt - offsetMs) };
}

/** Undefined when the sample counts. */
export function refusalOf(captured: Captured, judging: Judging): RefusedSample | undefined {
  const { index, sample } = captured;
  if (sample === undefined)
    return {
      ...{ index, inferenceId: null, model: null, version: null },
      reason: 'malformed',
      message: captured.problem,
    };
  const defect = defectOf(captured, judging);
  if (defect === undefined) return undefined;
  const { inferenceId, model, version } = sample;
  const message = `samples.${index}: ${plainText(inferenceId)} of model "${model}" version ${version}: ${defect.message}`;
  return { index, inferenceId, model, version, reason: defect.reason, message };
}

function defectOf(
  { sample, claim }: Extract<Captured, { sample: CapturedSample }>,
  { verdictOf, counts, now }: Judging,
): { reason: Reason; message: string } | undefined {
  const verdict = verdictOf(claim);
  if (verdict === 'unknown_release')
    return { reason: verdict, message: 'the registry does not have this release under this number' };
  if (verdict === 'never_assigned') return { reason: verdict, message: 'this device was never told to run it' };
  if (sample.predictedAt > now + aheadMs)
    return { reason: 'future', message: `predictedAt ${sample.predictedAt} is in the future` };
  const count = counts.get(versionKey(sample));
  if (count !== sample.features.length)
    return { reason: 'features', message: `has ${sample.features.length} features, the manifest names ${count}` };
  if (sample.features.some((value) => value !== null && !Number.isFinite(Math.fround(value))))
    return { reason: 'values', message: 'has a value that is no 32-bit float' };
  return undefined;
}

/** How many of each kind. */
export function disregardedOf(deviceId: string, refused: readonly RefusedSample[]): Disregarded[] {
  const entries = new Map<string, Disregarded>();
  for (const { model, version, reason } of refused) {
    const key = JSON.stringify([model, version, reason]);
    const kind = { what: 'samples' as const, reason, model: model ?? '', version: version ?? 0, release: '' };
    const entry = entries.get(key) ?? { deviceId, ...kind, count: 0 };
    entry.count += 1;
    entries.set(key, entry);
  }
  return [...entries.values()];
}

/** What is said when all of an upload is refused. */
export function noneLeft(refused: readonly RefusedSample[]): AppError {
  const errors = refused.slice(0, 20).map(({ index, message }) => ({ field: `samples.${index}`, message }));
  const [first] = refused;
  return new AppError('invalid_request', `no sample can be taken: ${first?.message ?? ''}`, { errors });
}

export function versionKey({ model, version }: { model: string; version: number }): string {
  return `${model} ${version}`;
}
