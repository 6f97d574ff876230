// Asks what the field says of a rollout, and has it judged.
import { type GateVerdict, kindOf, type RolloutPlan } from '@edgeloop/shared/api/rollouts';
import type { FieldEvidence, FieldMember, FieldQuery } from '../gates/evidence.ts';
import { judgeField } from '../gates/judge.ts';
import { judgeShadow } from '../gates/shadow.ts';
import { variantOf } from './device-state.ts';
import type { VariantCount } from './variant-count.ts';
import type { GateSource } from './views.ts';

/** What the versions of a rollout answered; undefined before any device was given the new one. */
export type FieldSource = (query: FieldQuery) => Promise<FieldEvidence | undefined>;

interface FieldGatesDeps {
  field: FieldSource;
  /** Changes whenever there is new evidence on a model; without it, it is asked for at each look. */
  evidenceVersion?: ((model: string) => number) | undefined;
  variantCount: VariantCount;
  now: () => number;
}

interface Judged {
  key: string | undefined;
  evidence: FieldEvidence | undefined;
  verdicts: GateVerdict[];
}

/** Rollouts whose last verdicts are kept. */
const kept = 100;
/** It is asked again after this time, too: labels may not have been read yet when they came in. */
const againMs = 5000;

/** Verdicts on the wave of each rollout. They are made anew only when something has come in. */
export function createFieldGates({ field, evidenceVersion, variantCount, now }: FieldGatesDeps): GateSource {
  const judged = new Map<string, Judged>();
  return async ({ rollout, wave, progress }) => {
    const { id, model, plan } = rollout;
    const known = judged.get(id);
    const version = evidenceVersion?.(model);
    const again = Math.floor(now() / againMs);
    const key = version === undefined ? undefined : `${version} ${wave} ${progress.given.size} ${again}`;
    if (known !== undefined && key !== undefined && known.key === key) return known.verdicts;
    const variants = await variantCount(rollout);
    const evidence = await field({ ...queryOf({ rollout, wave, progress }), ...(variants > 1 ? { variants } : {}) });
    const isSame = known !== undefined && known.evidence === evidence;
    const verdicts = isSame ? known.verdicts : evidence === undefined ? [] : judgeWave(plan, wave, evidence);
    judged.delete(id);
    judged.set(id, { key, evidence, verdicts });
    const [oldest] = judged.keys();
    if (judged.size > kept && oldest !== undefined) judged.delete(oldest);
    return verdicts;
  };
}

function judgeWave({ gates, waves }: RolloutPlan, wave: number, evidence: FieldEvidence): GateVerdict[] {
  const kind = kindOf(waves[wave]);
  return kind === 'shadow'
    ? [judgeShadow(gates, evidence, waves.length)]
    : judgeField(gates, evidence, { waves: waves.length, alone: kind === 'split' });
}

function queryOf({ rollout, wave, progress }: Parameters<GateSource>[0]): FieldQuery {
  const { id: rolloutId, model, version, plan } = rollout;
  const members: FieldMember[] = [];
  for (const deviceId of progress.given) {
    const member = progress.member(deviceId);
    const view = progress.view(deviceId);
    const variant = view && variantOf(rollout, view);
    if (member?.assignedAt != null) members.push({ deviceId, wave: member.wave, since: member.assignedAt, variant });
  }
  const matching = new Set<string>();
  let restRuns = false;
  for (const { id, report } of progress.views()) {
    matching.add(id);
    const active = report?.active ?? null;
    restRuns ||= active !== null && active.version !== version;
  }
  return {
    ...{ rolloutId, model, version, wave, members, matching, restRuns, quantile: plan.gates.latency.quantile },
    trial: kindOf(plan.waves[wave]) !== 'serve',
    patienceMs: (plan.bakeSeconds + plan.gates.evidenceTimeoutSeconds) * 1000,
  };
}
