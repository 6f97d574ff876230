// Windows of one model version put together without losing counts, and taken apart when one is too large to travel.
import { mergeShadows } from '@edgeloop/shared/shadow-windows';
import { mergeSketches, QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { type Histogram, mergeHistogram } from '@edgeloop/shared/sketches/histogram';
import type { Window } from '@edgeloop/shared/telemetry';

/** Which windows can be merged with each other: the same file of the same release and the same part of its features. */
export function mergeKey(window: Window): string {
  const features = Object.entries(window.features).map(([name, { counts }]) => `${name}:${counts.length}`);
  const { model, version, release, variant, confidence, shadow } = window;
  const beside = [shadow?.version, shadow?.release];
  return JSON.stringify([model, version, release, variant, confidence?.counts.length, features, beside]);
}

/** The sum of two windows with the same `mergeKey`. */
export function mergeWindows(a: Window, b: Window): Window {
  const features = Object.entries(a.features).map(([name, histogram]) => [name, sum(histogram, b.features[name])]);
  return {
    ...a,
    startedAt: Math.min(a.startedAt, b.startedAt),
    endedAt: Math.max(a.endedAt, b.endedAt),
    succeeded: a.succeeded + b.succeeded,
    invalid: a.invalid + b.invalid,
    rows: a.rows + b.rows,
    failed: addCounts(a.failed, b.failed),
    classes: addCounts(a.classes, b.classes),
    latencyMs: mergeSketches(a.latencyMs, b.latencyMs),
    features: Object.fromEntries(features),
    confidence: a.confidence === undefined ? b.confidence : sum(a.confidence, b.confidence),
    ...(a.recovered === true || b.recovered === true ? { recovered: true } : {}),
    ...(a.shadow === undefined ? {} : { shadow: mergeShadows(a.shadow, b.shadow) }),
  };
}

/**
 * The window in pieces of at most `maxBytes` of JSON: the first carries all counts, the others only more features.
 * Windows add up, so the whole is the same.
 */
export function splitWindow(window: Window, maxBytes: number): Window[] {
  if (sizeOf(window) <= maxBytes) return [window];
  const bare: Window = { ...window, features: {} };
  const counts = {
    succeeded: 0,
    invalid: 0,
    rows: 0,
    failed: {},
    classes: {},
    confidence: undefined,
    shadow: undefined,
  };
  const empty: Window = { ...bare, ...counts, latencyMs: new QuantileSketchBuilder().toJSON() };
  const pieces: Window[] = [{ ...bare, features: {} }];
  let room = maxBytes - sizeOf(bare);
  for (const [name, histogram] of Object.entries(window.features)) {
    const bytes = sizeOf({ [name]: histogram }) + 1;
    if (bytes > room) {
      pieces.push({ ...empty, features: {} });
      room = maxBytes - sizeOf(empty);
    }
    const piece = pieces.at(-1);
    if (piece !== undefined) piece.features[name] = histogram;
    room -= bytes;
  }
  return pieces;
}

/** Bytes of a value as JSON. */
export function sizeOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value));
}

function sum(a: Histogram, b: Histogram | undefined): Histogram {
  const total = { ...a, counts: [...a.counts] };
  if (b !== undefined) mergeHistogram(total, b);
  return total;
}

function addCounts(a: Record<string, number>, b: Record<string, number>): Record<string, number> {
  const total = { ...a };
  for (const [key, count] of Object.entries(b)) total[key] = (total[key] ?? 0) + count;
  return total;
}
