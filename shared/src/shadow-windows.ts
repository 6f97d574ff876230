// Windows of shadows put together without losing counts.
import { mergeSketches } from './sketches/ddsketch.ts';
import type { ShadowWindow } from './telemetry.ts';

/** The sum of two that were compared with the same release. */
export function mergeShadows(a: ShadowWindow, b: ShadowWindow | undefined): ShadowWindow {
  if (b === undefined) return a;
  const failed = { ...a.failed };
  for (const [code, count] of Object.entries(b.failed)) failed[code] = (failed[code] ?? 0) + count;
  return {
    ...a,
    compared: a.compared + b.compared,
    agreed: a.agreed + b.agreed,
    skipped: a.skipped + b.skipped,
    failed,
    difference: mergeSketches(a.difference, b.difference),
    latencyMs: mergeSketches(a.latencyMs, b.latencyMs),
    formerMs: mergeSketches(a.formerMs, b.formerMs),
  };
}
