// Windows of one model version put together without losing counts, and taken apart when one is too large to travel.
import { mergeShadows } from '@edgeloop/shared/shadow-windows';
import { mergeSketches, QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { type Histogram, mergeHistogram } from '@edgeloop/shared/sketches/histogram';
import type { Window } from '@edgeloop/shared/telemetry';
import { WindowPartsSum } from '@edgeloop/shared/window-parts';

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
  const parts = new WindowPartsSum();
  parts.add(a);
  parts.add(b);
  return {
    ...a,
    ...parts.result(),
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
 * The window in pieces of at most `maxBytes` of JSON: the first carries all counts, the others only more features and
 * signals.
 * Windows add up, so the whole is the same.
 */
export function splitWindow(window: Window, maxBytes: number): Window[] {
  if (sizeOf(window) <= maxBytes) return [window];
  const { signals, categories, ...others } = window;
  const bare: Window = { ...others, features: {} };
  const counts = {
    succeeded: 0,
    invalid: 0,
    rows: 0,
    failed: {},
    classes: {},
    confidence: undefined,
    shadow: undefined,
    ...{ queueMs: undefined, batchRows: undefined, sampled: undefined, labelled: undefined, resources: undefined },
  };
  const empty: Window = { ...bare, ...counts, latencyMs: new QuantileSketchBuilder().toJSON() };
  const pieces: Window[] = [{ ...bare, features: {} }];
  let room = maxBytes - sizeOf(bare);
  /** Adds what a part of a window is larger by, to a piece that has room for it. */
  const place = (bytes: number, add: (piece: Window) => void): void => {
    // The part's own name may come with it.
    const needed = bytes + partBytes;
    if (needed > room) {
      pieces.push({ ...empty, features: {} });
      room = maxBytes - sizeOf(empty);
    }
    const piece = pieces.at(-1);
    if (piece !== undefined) add(piece);
    room -= needed;
  };
  for (const [name, histogram] of Object.entries(window.features))
    place(sizeOf({ [name]: histogram }), (piece) => {
      piece.features[name] = histogram;
    });
  for (const [name, sketch] of Object.entries(signals ?? {}))
    place(sizeOf({ [name]: sketch }), (piece) => {
      piece.signals = { ...piece.signals, [name]: sketch };
    });
  for (const [name, counts] of Object.entries(categories ?? {}))
    place(sizeOf({ [name]: counts }), (piece) => {
      piece.categories = { ...piece.categories, [name]: counts };
    });
  return pieces;
}

const partBytes = sizeOf({ categories: {} });

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
