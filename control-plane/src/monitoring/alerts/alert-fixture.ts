// A firing alert to put into the database, for tests.
import type { AlertRecord } from './alert-store.ts';

export function alertOf(id: string, parts: Partial<AlertRecord> = {}): AlertRecord {
  return {
    ...{ id, ruleId: 'r', kind: 'drift', model: 'm', version: 1, status: 'firing', startedAt: 1, firedAt: 2 },
    ...{ resolvedAt: null, acknowledgedBy: null, silencedUntil: null, summary: 's', features: [], value: 1 },
    ...{ scope: { kind: 'fleet', devices: [], detail: '' }, notifiedAt: null, handedOver: false },
    ...{ severity: 'warning', labels: {}, subject: '', acknowledgedAt: null, note: null, bound: null, baseline: null },
    ...{ evidence: { state: 'fresh', since: 1, numbersAt: 1, detail: '' }, resolution: null, history: [] },
    ...{ links: { causedBy: [], runs: [], rollouts: [], resolvedBy: [] }, calmSince: null },
    ...parts,
  };
}
