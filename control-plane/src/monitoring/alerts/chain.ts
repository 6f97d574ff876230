// What led to an alert and what came of it, in the order of time. Pure.
import type { AlertChain } from '@edgeloop/shared/api/alerts';
import type { AlertRecord } from './alert-store.ts';

type Step = AlertChain['steps'][number];

/** A run or rollout as others know it; `at`: when it began. */
interface Linked {
  at: number;
  summary: string;
}

/** Asks the rooms that know; undefined for what they do not. */
export interface Links {
  run: (id: string) => Promise<(Linked & { rolloutId: string | null }) | undefined>;
  rollout: (id: string) => Promise<Linked | undefined>;
}

export async function chainOf(alert: AlertRecord, links: Links): Promise<AlertChain> {
  const steps: Step[] = [
    { at: alert.startedAt, what: 'alert_began', role: 'alert', id: alert.id, summary: alert.summary },
  ];
  for (const id of alert.links.causedBy) steps.push(await rolloutStep(id, 'cause'));
  if (alert.firedAt !== null)
    steps.push({ at: alert.firedAt, what: 'alert_fired', role: 'alert', id: alert.id, summary: firedText(alert) });
  if (alert.acknowledgedBy !== null) {
    const summary = `by ${alert.acknowledgedBy}${alert.note === null ? '' : `: ${alert.note}`}`;
    steps.push({ at: alert.acknowledgedAt, what: 'acknowledged', role: 'alert', id: alert.id, summary });
  }
  const rollouts = new Set(alert.links.rollouts);
  for (const id of alert.links.runs) {
    const run = await links.run(id);
    const summary = run?.summary ?? 'it is no longer known';
    steps.push({ at: run?.at ?? null, what: 'run', role: 'consequence', id, summary });
    if (run?.rolloutId != null) rollouts.add(run.rolloutId);
  }
  for (const id of rollouts) steps.push(await rolloutStep(id, 'consequence'));
  for (const id of alert.links.resolvedBy) if (!rollouts.has(id)) steps.push(await rolloutStep(id, 'end'));
  if (alert.resolvedAt !== null) {
    const summary = alert.resolution?.summary ?? '';
    steps.push({ at: alert.resolvedAt, what: 'alert_resolved', role: 'end', id: alert.id, summary });
  }
  return { alertId: alert.id, steps: steps.sort((a, b) => (a.at ?? 0) - (b.at ?? 0)) };

  async function rolloutStep(id: string, role: Step['role']): Promise<Step> {
    const rollout = await links.rollout(id);
    return { at: rollout?.at ?? null, what: 'rollout', role, id, summary: rollout?.summary ?? 'it is no longer known' };
  }
}

function firedText({ severity, scope }: AlertRecord): string {
  const where = scope.detail === '' ? '' : `; ${scope.kind}: ${scope.detail}`;
  return `${severity}${where}`;
}
