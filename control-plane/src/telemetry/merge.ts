// Puts windows of one model version together, of any devices and times, without losing counts.
import { mergeShadows } from '@edgeloop/shared/shadow-windows';
import { QuantileSketchBuilder } from '@edgeloop/shared/sketches/ddsketch';
import { type Histogram, mergeHistogram } from '@edgeloop/shared/sketches/histogram';
import { Window } from '@edgeloop/shared/telemetry';
import { WindowPartsSum } from '@edgeloop/shared/window-parts';
import { z } from 'zod';

export interface WindowMerge {
  add(window: Window): void;
  /** Undefined while nothing was added. */
  result(): Window | undefined;
}

/** A histogram with other bins than the first of its name is left out: it was made with another reference profile. */
export function createWindowMerge(): WindowMerge {
  const latency = new QuantileSketchBuilder();
  const parts = new WindowPartsSum();
  let merged: Window | undefined;
  return {
    add(window) {
      latency.merge(window.latencyMs);
      parts.add(window);
      if (merged === undefined) merged = copyOf(window);
      else addTo(merged, window);
    },
    result: () => merged && { ...merged, ...parts.result(), latencyMs: latency.toJSON() },
  };
}

/** A merged window, and those of each variant that answered, of versions with several. */
export const MergedWindow = Window.extend({ variants: z.record(z.string(), Window).optional() });
export type MergedWindow = z.infer<typeof MergedWindow>;

/** Of more variants than a version can have, which devices say all the same, none is told apart. */
const mostVariants = 100;

/** Keeps what each variant answered apart, too. */
export function createVariantMerge() {
  const all = createWindowMerge();
  const byVariant = new Map<string, WindowMerge>();
  return {
    add({ variants = {}, ...window }: MergedWindow): void {
      all.add(window);
      const { variant } = window;
      for (const [name, own] of Object.entries(variant === undefined ? variants : { ...variants, [variant]: window }))
        addVariant(name, own);
    },
    result(): MergedWindow | undefined {
      const merged = all.result();
      if (merged === undefined || byVariant.size === 0) return merged;
      const variants = [...byVariant].flatMap(([name, merge]) => {
        const window = merge.result();
        return window === undefined ? [] : [[name, window] as const];
      });
      return { ...merged, variants: Object.fromEntries(variants) };
    },
  };

  function addVariant(name: string, window: Window): void {
    const known = byVariant.get(name);
    if (known === undefined && (byVariant.size >= mostVariants || name === '__proto__')) return;
    const merge = known ?? createWindowMerge();
    byVariant.set(name, merge);
    merge.add(window);
  }
}

/** Without what is put together elsewhere, and what is not true of all. */
function copyOf(window: Window): Window {
  const { recovered: _, variant: _variant, signals: _signals, categories: _categories, latencyMs, ...rest } = window;
  return { ...structuredClone(rest), latencyMs };
}

function addTo(target: Window, window: Window): void {
  target.startedAt = Math.min(target.startedAt, window.startedAt);
  target.endedAt = Math.max(target.endedAt, window.endedAt);
  target.succeeded += window.succeeded;
  target.invalid += window.invalid;
  target.rows += window.rows;
  addCounts(target.failed, window.failed);
  addCounts(target.classes, window.classes);
  for (const [name, histogram] of Object.entries(window.features)) {
    target.features[name] = sumOf(target.features[name], histogram);
  }
  if (window.shadow !== undefined) target.shadow = mergeShadows(window.shadow, target.shadow);
  if (window.confidence !== undefined) target.confidence = sumOf(target.confidence, window.confidence);
}

/** Adds the counts of `other` to `target`, key by key. */
function addCounts(target: Record<string, number>, other: Readonly<Record<string, number>>): void {
  for (const [key, count] of Object.entries(other)) target[key] = (target[key] ?? 0) + count;
}

function sumOf(target: Histogram | undefined, other: Histogram): Histogram {
  if (target === undefined) return structuredClone(other);
  if (target.counts.length === other.counts.length) mergeHistogram(target, other);
  return target;
}
