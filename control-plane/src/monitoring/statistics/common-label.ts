// What devices that show something have in common, and the others have not. Pure.
import type { Labels } from '@edgeloop/shared/selector';

/** Share of the judged devices from which on the whole fleet is meant. */
export const wholeFleet = 0.8;
/** Devices that a scope names. */
export const namedDevices = 50;
/** How well a label must tell those that show it from the others, both ways. */
const labelFit = 0.8;

interface Labelled {
  labels: Labels;
}

/** The `key=value` that most of those that show it have and most of the others have not; of equally good ones the first by name. */
export function commonLabel(showing: readonly Labelled[], others: readonly Labelled[]): string | undefined {
  const inside = countsOf(showing);
  const outside = countsOf(others);
  let best: { label: string; fit: number } | undefined;
  for (const [label, count] of [...inside].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const fit = Math.min(count / showing.length, count / (count + (outside.get(label) ?? 0)));
    if (fit >= labelFit && (best === undefined || fit > best.fit)) best = { label, fit };
  }
  return best?.label;
}

function countsOf(devices: readonly Labelled[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { labels } of devices)
    for (const [key, value] of Object.entries(labels)) {
      const label = `${key}=${value}`;
      counts.set(label, (counts.get(label) ?? 0) + 1);
    }
  return counts;
}
