// Gathers what a decision is made of: the rollout's row and members, the fleet's facts, and the evidence.
import { type GateVerdict, presentWave, type Rollout } from '@edgeloop/shared/api/rollouts';
import { matches, parseSelector, type Selector } from '@edgeloop/shared/selector';
import type { Candidate } from '../fleet/fleet.ts';
import type { VariantErrors } from '../gates/judge.ts';
import type { RequestCounts } from '../gates/rates.ts';
import { type DeviceView, type Member, variantOf } from './device-state.ts';
import type { Evidence } from './gates.ts';
import { type Claims, claimantOf } from './precedence.ts';
import type { Progress } from './progress.ts';

/** Requests that `version` answered on each of the devices since it was assigned; those of other bytes do not count. */
export type EvidenceSource = (asked: {
  model: string;
  version: number;
  release?: string | undefined;
  assigned: { deviceId: string; since: number }[];
}) => Promise<RequestCounts>;

/** Verdicts of further gates on a rollout's present wave; undefined where there are none. */
export type GateSource = (asked: {
  rollout: Rollout;
  wave: number;
  progress: Progress;
}) => Promise<readonly GateVerdict[]>;

/** How one rollout sees devices. */
export interface Eye {
  rollout: Rollout;
  selector: Selector;
  claims: Claims;
  members: ReadonlyMap<string, Member>;
}

export function eyeOf(rollout: Rollout, claims: Claims, members: ReadonlyMap<string, Member>): Eye {
  return { rollout, selector: parseSelector(rollout.plan.selector), claims, members };
}

/** Undefined for a device that the rollout has nothing to do with. */
export function viewOf({ rollout, selector, claims, members }: Eye, device: Candidate): DeviceView | undefined {
  const { id, labels, status, lastSeenAt, reported, conflictSince, keptWord } = device;
  const member = members.get(id) ?? null;
  const isMatching = matches(selector, labels);
  if (!isMatching && member === null) return undefined;
  const desired = device.desired.get(rollout.model) ?? null;
  return {
    ...{ id, labels, matches: isMatching, lastSeenAt, desired, member },
    claimedBy: claimantOf(rollout, claims, { labels, owner: desired?.rolloutId ?? keptWord ?? undefined }),
    online: status === 'online',
    conflicting: conflictSince !== null,
    report: reported?.models.find(({ name }) => name === rollout.model) ?? null,
    problems: reported?.problems ?? [],
    ...(reported?.clock !== undefined && { clockOffsetMs: reported.clock.offsetMs }),
    ...(reported !== null && { canRunBeside: reported.facts.capabilities?.includes('beside') ?? false }),
  };
}

export const noEvidence: Evidence = { wave: { requests: 0, failed: 0 }, all: { requests: 0, failed: 0 } };

/** What the devices of the present wave answered, and those of all waves. */
export async function evidenceOf(
  source: EvidenceSource,
  rollout: Rollout,
  { progress, variants }: { progress: Progress; variants: number },
): Promise<Evidence> {
  const { state, model, version } = rollout;
  const running = presentWave(state);
  if (running === undefined) return noEvidence;
  const given = [...progress.given].flatMap((deviceId) => {
    const member = progress.member(deviceId);
    const view = progress.view(deviceId);
    const variant = view && variantOf(rollout, view);
    return member?.assignedAt == null ? [] : [{ deviceId, since: member.assignedAt, wave: member.wave, variant }];
  });
  const release = given[0] && progress.view(given[0].deviceId)?.desired?.release;
  const counts = (of: typeof given) => {
    const assigned = of.map(({ deviceId, since }) => ({ deviceId, since }));
    return of.length === 0 ? Promise.resolve(noEvidence.all) : source({ model, version, release, assigned });
  };
  const scopes = async (of: typeof given) => {
    const wave = of.filter((each) => each.wave === running.wave);
    const ofWave = await counts(wave);
    return { wave: ofWave, all: wave.length === of.length ? ofWave : await counts(of), isInWave: wave.length > 0 };
  };
  const { wave, all } = await scopes(given);
  const names = variants > 1 ? [...new Set(given.flatMap(({ variant }) => variant ?? []))].sort() : [];
  if (names.length === 0) return { wave, all };
  const each: VariantErrors[] = [];
  for (const name of names) {
    const own = await scopes(given.filter(({ variant }) => variant === name));
    each.push({ name, wave: own.isInWave ? own.wave : undefined, all: own.all });
  }
  return { wave, all, variants: { of: variants, each } };
}
