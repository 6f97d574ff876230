// At what devices failed, counted for the gate of failed devices.
import type { GateVerdict } from '@edgeloop/shared/api/rollouts';
import type { FailureKind } from '@edgeloop/shared/messages';
import type { DeviceView } from './device-state.ts';

/** Devices by what they failed at; `timeout`: they did not serve in time. */
export type FailureCounts = Partial<Record<FailureKind | 'timeout', number>>;

/** Of a device that has failed or timed out. */
export function failureKindOf({ report, member }: Pick<DeviceView, 'report' | 'member'>): FailureKind | 'timeout' {
  // What has failed beside another is the only thing there: what answers is not being replaced.
  const { error, state } = report?.candidate ?? report?.beside ?? {};
  if (state === 'failed') return error?.kind ?? byCode(error?.code);
  // It served the version and lost it, or never came to serve it.
  return (member?.servingSince ?? null) === null ? 'timeout' : 'crash';
}

/** What agents of before meant, which did not say the kind. */
function byCode(code: string | undefined): FailureKind {
  if (code === 'integrity') return 'verify';
  if (code === 'unavailable' || code === 'insufficient_storage') return 'fetch';
  return code === 'unsupported' || code === 'invalid_request' ? 'contract' : 'load';
}

export function countKinds(kinds: Iterable<FailureKind | 'timeout' | undefined>): FailureCounts {
  const counts: FailureCounts = {};
  for (const kind of kinds) if (kind !== undefined) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

/** The verdict with what devices failed at. */
export function withKinds(verdict: GateVerdict, kinds: FailureCounts): GateVerdict {
  const words = Object.entries(kinds).map(([kind, count]) => `${count} ${kind}`);
  if (words.length === 0) return verdict;
  const detail = `${verdict.detail} (${words.join(', ')})`;
  return { ...verdict, detail, kinds };
}
