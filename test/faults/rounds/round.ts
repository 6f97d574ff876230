// One round: an activity, a fault in the middle of it, the time to settle, and the checks.
import { setTimeout as wait } from 'node:timers/promises';
import { messageOf } from '@edgeloop/shared/errors';
import { perform } from './activities.ts';
import type { FaultFleet } from './fleet.ts';
import { models } from './fleet.ts';
import { type Counts, checkCallers, checkCounts, checkLeftovers, checkServing } from './invariants.ts';
import type { Round } from './plan.ts';
import { revive, strike } from './strikes.ts';

export interface RoundResult extends Round {
  /** What the fault hit; undefined when there was nothing to hit. */
  hit: string | undefined;
  /** Longest time without an answer of the model that never changes, over all agents. */
  darkMs: number;
  /** Requests in this round, over all agents and models. */
  answered: number;
  missed: Record<string, number>;
  /** Since the fleet was started; undefined where the server forgot what it had counted. */
  counts: Counts | undefined;
  seconds: number;
  violations: string[];
}

/** Does a round; the fleet is as it was before when there are no violations. */
export async function doRound(fleet: FaultFleet, round: Round): Promise<RoundResult> {
  const begunMs = performance.now();
  fleet.violations.length = 0;
  for (const { callers } of fleet.agents) callers.resume();
  const hit = await guarded(fleet, () => underFault(fleet, round));
  await guarded(fleet, () => revive(fleet));
  await guarded(fleet, () => checkServing(fleet));
  await Promise.all(fleet.agents.map(({ callers }) => callers.pause()));
  checkCallers(fleet, round);
  // A copy of before knows nothing of what was counted since.
  const counts = round.activity === 'restore' ? undefined : await guarded(fleet, () => checkCounts(fleet));
  await guarded(fleet, () => checkLeftovers(fleet));
  const seconds = Math.round((performance.now() - begunMs) / 100) / 10;
  return { ...round, hit, ...seenByCallers(fleet), counts, seconds, violations: [...new Set(fleet.violations)] };
}

async function underFault(fleet: FaultFleet, round: Round): Promise<string | undefined> {
  const { agents } = fleet;
  const agent = agents[Math.floor(round.agentShare * agents.length)];
  if (agent === undefined) throw new Error('the fleet has no agents');
  const over = new AbortController();
  const activity = perform(round.activity, fleet).finally(() => over.abort());
  // It is waited for below, whatever the fault does.
  activity.catch(() => undefined);
  // What is killed while it works is looked for from the beginning.
  if (round.fault !== 'kill prover') await wait(round.instantMs);
  const hit = await guarded(fleet, () => strike(fleet, { agent, round, over: over.signal }));
  await activity;
  return hit;
}

/** What fails is a violation, not the end of all rounds. */
async function guarded<T>(fleet: FaultFleet, work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    fleet.violations.push(messageOf(error));
    return undefined;
  }
}

function seenByCallers({ agents, expected }: FaultFleet): Pick<RoundResult, 'darkMs' | 'answered' | 'missed'> {
  const missed: Record<string, number> = {};
  let answered = 0;
  for (const { ledger } of agents)
    for (const model of expected.keys()) {
      const { misses, answered: own } = ledger.round(model);
      answered += own;
      for (const [miss, count] of misses) missed[miss] = (missed[miss] ?? 0) + count;
    }
  const darkMs = Math.round(Math.max(...agents.map(({ ledger }) => ledger.round(models.calm).darkMs)));
  return { darkMs, answered, missed };
}
