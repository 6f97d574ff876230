// The rules that hold in every fleet without anybody's doing. They are rows as any other: shown, changed, disabled, deleted; a
// deleted one does not come back. Each has a least evidence, a time that it must hold, and a bound to come back to.
import { type AlertRuleSpec, MetricRule } from '@edgeloop/shared/api/alert-rules';
import type { z } from 'zod';

const hour = 3600;
/** When much of the fleet is away, nobody need hear of each device, or that its models are silent. */
const explainedByOffline = [{ rule: 'default-device-offline' }, { rule: 'default-silent-model' }];

const specs: Record<string, Omit<z.input<typeof MetricRule>, 'kind'>> = {
  // A version that fails 12 of 12 requests is beyond doubt, 1 of 1 is not: the whole interval of the rate must lie above.
  'default-error-rate': {
    name: 'A version fails requests',
    severity: 'critical',
    ...{ metric: 'error_rate', groupBy: 'version', overSeconds: 300, widenToSeconds: hour, minEvidence: 5 },
    condition: { is: 'above', bound: 0.05, clear: 0.03 },
    ...{ forSeconds: 0, calmSeconds: 600 },
  },
  'default-latency': {
    name: 'A version is slower than it was, or than the version before it',
    ...{ metric: 'latency', groupBy: 'version', quantile: 0.95, overSeconds: 300, widenToSeconds: hour },
    condition: { is: 'above_past', ratio: 2, lookbackSeconds: 24 * hour, minDifference: 1 },
    ...{ minEvidence: 50, forSeconds: 120, calmSeconds: 600 },
  },
  'default-device-latency': {
    name: 'A device is slower than its peers and than it usually is',
    severity: 'info',
    ...{ metric: 'latency', groupBy: 'device', quantile: 0.95, overSeconds: hour },
    condition: { is: 'unlike', side: 'above', minDifference: 5 },
    ...{ minEvidence: 50, forSeconds: 0, calmSeconds: 0 },
  },
  'default-device-errors': {
    name: 'A device fails more requests than its peers and than it usually does',
    severity: 'info',
    ...{ metric: 'error_rate', groupBy: 'device', overSeconds: hour },
    condition: { is: 'unlike', side: 'above', minDifference: 0.02 },
    ...{ minEvidence: 50, forSeconds: 0, calmSeconds: 0 },
  },
  'default-device-confidence': {
    name: 'A device is less sure than its peers and than it usually is',
    severity: 'info',
    ...{ metric: 'confidence', groupBy: 'device', overSeconds: hour },
    condition: { is: 'unlike', side: 'below', minDifference: 0.05 },
    ...{ minEvidence: 50, forSeconds: 0, calmSeconds: 0 },
  },
  'default-silent-model': {
    name: 'A model that answered no longer does',
    ...{ metric: 'requests', groupBy: 'model', overSeconds: 900, condition: { is: 'absent' } },
    ...{ minEvidence: 30, forSeconds: 0, calmSeconds: 0 },
  },
  'default-offline-share': {
    name: 'Many devices are away',
    severity: 'critical',
    inhibits: explainedByOffline,
    ...{ metric: 'offline_share', overSeconds: 300, condition: { is: 'above', bound: 0.34, clear: 0.25 } },
    ...{ minEvidence: 3, forSeconds: 0, calmSeconds: 300 },
  },
  'default-device-offline': {
    name: 'A device is away',
    severity: 'info',
    ...{ metric: 'offline_seconds', condition: { is: 'above', bound: 900 } },
    ...{ minEvidence: 0, forSeconds: 0, calmSeconds: 60 },
  },
  'default-lost': {
    name: 'A device lost telemetry',
    ...{ metric: 'lost', groupBy: 'device', overSeconds: hour, condition: { is: 'above', bound: 0 } },
    ...{ minEvidence: 0, forSeconds: 0, calmSeconds: 300 },
  },
  'default-disk': {
    name: 'The disk of this server is nearly full',
    severity: 'critical',
    ...{ metric: 'disk_free_share', condition: { is: 'below', bound: 0.05, clear: 0.08 } },
    ...{ minEvidence: 0, forSeconds: 120, calmSeconds: 120 },
  },
  'default-clock': {
    name: 'The clock of a device is wrong',
    ...{ metric: 'clock_offset', condition: { is: 'above', bound: 60_000, clear: 10_000 } },
    ...{ minEvidence: 0, forSeconds: 60, calmSeconds: 0 },
  },
  'default-identity': {
    name: 'Two devices have one identity',
    severity: 'critical',
    ...{ metric: 'identity_takeovers', condition: { is: 'above', bound: 2 } },
    ...{ minEvidence: 0, forSeconds: 0, calmSeconds: 600 },
  },
  'default-conflict': {
    name: 'A device is ahead of this server',
    ...{ metric: 'conflicting_seconds', condition: { is: 'above', bound: 0 } },
    ...{ minEvidence: 0, forSeconds: 60, calmSeconds: 0 },
  },
  'default-quarantine': {
    name: 'A version failed on devices, which do not try it again',
    ...{ metric: 'quarantined_devices', condition: { is: 'above', bound: 0 } },
    ...{ minEvidence: 0, forSeconds: 0, calmSeconds: 0 },
  },
};

export const defaultRules: readonly { id: string; spec: AlertRuleSpec }[] = Object.entries(specs).map(([id, spec]) => ({
  id,
  spec: MetricRule.parse({ ...spec, kind: 'metric' }),
}));
