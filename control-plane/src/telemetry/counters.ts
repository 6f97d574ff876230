// Prometheus counters of what came in.
import type { Window } from '@edgeloop/shared/telemetry';
import { Counter, type Registry } from 'prom-client';
import type { Disregarded } from '../fleet/fleet.ts';
import type { Stored } from './telemetry-store.ts';

export interface IngestCounters {
  /** Counts a committed group: how many items came, what of them was new, and what of that counts nowhere. */
  count(received: number, stored: Stored, disregarded: readonly Disregarded[]): void;
}

const maxVersions = 200;

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
  const refused = new Counter({
    name: 'edgeloop_telemetry_refused_total',
    help: 'Requests and labels in telemetry that no metric counts, by why',
    labelNames: ['what', 'reason'],
    registers,
  });
  const requests = new Counter({
    name: 'edgeloop_requests_total',
    help: 'Requests that devices answered, by model, version and outcome, as their telemetry came in',
    labelNames: ['model', 'version', 'outcome'],
    registers,
  });
  /** Models and versions with series of their own; those that come later are counted together. */
  const known = new Set<string>();
  const nameOf = ({ model, version }: Pick<Window, 'model' | 'version'>) => {
    const key = `${model} ${version}`;
    if (known.size < maxVersions) known.add(key);
    return known.has(key) ? { model, version: String(version) } : { model: 'other', version: 'other' };
  };
  return {
    count(received, stored, disregarded) {
      items.inc(stored.items);
      duplicates.inc(received - stored.items);
      windows.inc(stored.windows.length);
      for (const { head } of stored.windows) {
        const of = nameOf(head);
        const failed = Object.values(head.failed).reduce((sum, each) => sum + each, 0);
        requests.inc({ ...of, outcome: 'succeeded' }, head.succeeded);
        requests.inc({ ...of, outcome: 'failed' }, failed);
        requests.inc({ ...of, outcome: 'invalid' }, head.invalid);
      }
      labels.inc(stored.labels.length);
      for (const { what, reason, count } of disregarded) refused.inc({ what, reason }, count);
      lost.inc(stored.losses.reduce((sum, loss) => sum + loss.requests, 0));
    },
  };
}
