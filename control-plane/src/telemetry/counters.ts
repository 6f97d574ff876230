// Prometheus counters of what came in.
import { Counter, type Registry } from 'prom-client';
import type { Stored } from './telemetry-store.ts';

export interface IngestCounters {
  /** Counts a committed group: how many items came, and what of them was new. */
  count(received: number, stored: Stored): void;
}

/** Registers the counters with `registry`. */
export function createIngestCounters(registry: Registry): IngestCounters {
  const registers = [registry];
  const items = new Counter({
    name: 'edgeloop_telemetry_items_stored_total',
    help: 'Telemetry items stored, each once',
    registers,
  });
  const duplicates = new Counter({
    name: 'edgeloop_telemetry_items_duplicate_total',
    help: 'Telemetry items that came again after they had been stored',
    registers,
  });
  const windows = new Counter({
    name: 'edgeloop_telemetry_windows_total',
    help: 'Telemetry windows stored, each once',
    registers,
  });
  const labels = new Counter({
    name: 'edgeloop_telemetry_labels_total',
    help: 'Labels of earlier predictions taken in',
    registers,
  });
  const lost = new Counter({
    name: 'edgeloop_telemetry_requests_lost_total',
    help: 'Requests whose windows devices had to drop because their buffer was full',
    registers,
  });
  return {
    count(received, stored) {
      items.inc(stored.items);
      duplicates.inc(received - stored.items);
      windows.inc(stored.windows.length);
      labels.inc(stored.labels.length);
      lost.inc(stored.losses.reduce((sum, loss) => sum + loss.requests, 0));
    },
  };
}
