// The spans by which a trace shows a rollout, from what is stored of it. Their ids follow from what they are about, so that the same
// spans come out whenever and wherever they are made.
import { hash } from 'node:crypto';
import type { Rollout, RolloutDetail, RolloutState, RolloutWave } from '@edgeloop/shared/api/rollouts';
import { isFailure } from './activation.ts';
import type { Member } from './device-state.ts';

/** Instants are by this server's clock. */
export interface Span {
  traceId: string;
  id: string;
  parentId: string;
  name: string;
  startedAt: number;
  endedAt: number;
  attributes: Record<string, string | number>;
  events: { at: number; name: string }[];
  /** Why it failed; unset: it did not. */
  error?: string;
}

type History = RolloutDetail['history'];
export type TracedMember = Pick<Member, 'wave' | 'assignedAt' | 'attempt' | 'outcome' | 'detail' | 'activation'> & {
  deviceId: string;
};

/** Lines of history in a span. */
const mostEvents = 100;
const traceparent = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;

interface Traced {
  traceId: string;
  parentId: string;
  about: Span['attributes'];
}

/** Undefined for one that is not traced. */
function tracedOf({ id, model, version, ...rollout }: Rollout): Traced | undefined {
  const [, traceId, parentId] = traceparent.exec(rollout.traceparent ?? '') ?? [];
  if (traceId === undefined || parentId === undefined) return undefined;
  const about = { 'edgeloop.rollout.id': id, 'edgeloop.model': model, 'edgeloop.version': version };
  return { traceId, parentId, about };
}

/** When it was over; undefined while it is not. */
function endOf(state: RolloutState): number | undefined {
  return 'at' in state ? state.at : undefined;
}

/** Of one that is over: itself and its waves, with the devices that had not ended when it did. */
export function rolloutSpans(
  rollout: Rollout,
  { waves, history, members }: { waves: readonly RolloutWave[]; history: History; members: readonly TracedMember[] },
): Span[] {
  const traced = tracedOf(rollout);
  const endedAt = endOf(rollout.state);
  if (traced === undefined || endedAt === undefined) return [];
  const { state, createdAt, createdBy } = rollout;
  const id = rolloutSpan(rollout);
  const own: Span = {
    ...{ traceId: traced.traceId, id, parentId: traced.parentId, name: 'rollout' },
    ...spell(createdAt, endedAt),
    attributes: {
      ...traced.about,
      ...{ 'edgeloop.rollout.phase': state.phase, 'edgeloop.rollout.created_by': createdBy },
    },
    events: history.slice(0, mostEvents).map(({ at, text }) => ({ at, name: text })),
    ...(state.phase === 'rolled_back' && { error: state.reason }),
  };
  const open = members.filter(({ activation }) => activation != null && activation.end === null);
  return [
    own,
    ...waves.map((wave) => waveSpan(rollout, traced, { ...wave, endedAt: wave.endedAt ?? endedAt })),
    ...open.flatMap((member) =>
      deviceSpans(rollout, member, { at: endedAt, state: member.outcome ?? 'unreached', detail: member.detail ?? '' }),
    ),
  ];
}

function waveSpan(rollout: Rollout, { traceId, about }: Traced, wave: RolloutWave & { endedAt: number }): Span {
  const gates = Object.fromEntries(wave.gates.map(({ gate, verdict }) => [`edgeloop.gate.${gate}`, verdict]));
  const counts = Object.entries(wave.counts).map(([state, count]) => [`edgeloop.devices.${state}`, count]);
  const failed = wave.gates.find(({ verdict }) => verdict === 'failed');
  return {
    ...{ traceId, id: waveId(rollout, wave.wave), parentId: rolloutSpan(rollout), name: 'rollout.wave' },
    ...spell(wave.startedAt, wave.endedAt),
    attributes: {
      ...{ ...about, 'edgeloop.wave': wave.wave, 'edgeloop.outcome': wave.outcome },
      ...{ ...gates, ...Object.fromEntries(counts) },
    },
    events: [],
    ...(wave.outcome === 'failed' && { error: failed?.detail ?? 'failed' }),
  };
}

/** From when a device was told to `end`, and the steps between; none for one that was not told or is not traced. */
export function deviceSpans(rollout: Rollout, member: TracedMember, end = member.activation?.end ?? null): Span[] {
  const traced = tracedOf(rollout);
  const { deviceId, wave, assignedAt, attempt, activation } = member;
  if (traced === undefined || assignedAt === null || activation == null || end === null) return [];
  const { traceId } = traced;
  const id = spanId(rollout.id, 'device', `${wave}`, deviceId, `${assignedAt}`);
  const whole = spell(assignedAt, end.at);
  const about = { ...traced.about, 'edgeloop.wave': wave, 'edgeloop.device.id': deviceId };
  const error = isFailure(end.state) ? { error: end.detail } : {};
  const within = (at: number) => Math.min(Math.max(at, whole.startedAt), whole.endedAt);
  const steps = activation.steps.map(({ state, at }, i): Span => {
    const startedAt = within(at);
    const endedAt = Math.max(startedAt, within(activation.steps[i + 1]?.at ?? end.at));
    const isLast = i === activation.steps.length - 1;
    return {
      ...{ traceId, id: spanId(id, `${i}`, state), parentId: id, name: `rollout.device.${state}` },
      ...{ startedAt, endedAt, attributes: about, events: [], ...(isLast && error) },
    };
  });
  const attributes = {
    ...{ ...about, 'edgeloop.attempt': attempt, 'edgeloop.outcome': end.state },
    ...(end.detail !== '' && { 'edgeloop.detail': end.detail }),
  };
  const device = { traceId, id, parentId: waveId(rollout, wave), name: 'rollout.device', ...whole };
  return [{ ...device, attributes, events: [], ...error }, ...steps];
}

function rolloutSpan({ id }: Rollout): string {
  return spanId(id, 'rollout');
}

function waveId({ id }: Rollout, wave: number): string {
  return spanId(id, 'wave', `${wave}`);
}

function spanId(...about: string[]): string {
  return hash('sha256', about.join('\n')).slice(0, 16);
}

/** A clock that was set back makes none of negative length. */
function spell(startedAt: number, endedAt: number) {
  return { startedAt, endedAt: Math.max(startedAt, endedAt) };
}
