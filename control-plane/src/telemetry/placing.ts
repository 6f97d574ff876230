// Where in time stands what a device with a wrong clock has dated: by this server's clock, with what the device said kept beside it.
// Pure.
import { clockBoundMs } from '@edgeloop/shared/clock';
import type { LabelledPrediction, TelemetryBatch, Window } from '@edgeloop/shared/telemetry';

type Sent = TelemetryBatch['items'][number];

/** The item as it is stored. */
export function placed({ item, clockOffsetMs }: Omit<Sent, 'sequence'>, receivedAt: number): Sent['item'] {
  if (item.kind === 'loss') return item;
  const latest = item.kind === 'window' ? item.endedAt : Math.max(...item.labels.map(({ labelledAt }) => labelledAt));
  const offsetMs = offsetOf(latest, clockOffsetMs, receivedAt);
  if (offsetMs === 0) return item;
  return item.kind === 'window' ? placedWindow(item, offsetMs) : { ...item, labels: item.labels.map(at(offsetMs)) };
}

/** What a clock says that nobody could compare is believed, unless it has not been yet. */
function offsetOf(latest: number, measured: number | undefined, receivedAt: number): number {
  const offset = measured === undefined || Math.abs(measured) <= clockBoundMs ? 0 : measured;
  const ahead = latest - offset - receivedAt;
  return ahead > clockBoundMs ? offset + ahead : offset;
}

function placedWindow(window: Window, offsetMs: number): Window {
  const { startedAt, endedAt } = window;
  const deviceClock = { startedAt, endedAt, offsetMs };
  return { ...window, startedAt: before(startedAt, offsetMs), endedAt: before(endedAt, offsetMs), deviceClock };
}

const at =
  (offsetMs: number) =>
  (label: LabelledPrediction): LabelledPrediction => ({
    ...label,
    predictedAt: before(label.predictedAt, offsetMs),
    labelledAt: before(label.labelledAt, offsetMs),
  });

const before = (instant: number, offsetMs: number) => Math.max(0, instant - offsetMs);
