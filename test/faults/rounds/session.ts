// Does rounds one after the other on a fleet, and takes a new fleet after each violation, so that one does not follow from another.
import { join } from 'node:path';
import { equip } from './activities.ts';
import { type FaultFleet, joinAgents, startFleet } from './fleet.ts';
import { needsDisks, type Round } from './plan.ts';
import { doRound, type RoundResult } from './round.ts';

export interface SessionOptions {
  agents: number;
  /** Whether small disks can be mounted; rounds that need them are left out otherwise. */
  disks: boolean;
  /** Where the programs' logs go, a folder for each fleet. */
  logs: string;
  onResult(result: RoundResult): void;
  signal: AbortSignal;
}

export async function doRounds(rounds: readonly Round[], options: SessionOptions): Promise<RoundResult[]> {
  const results: RoundResult[] = [];
  let fleet: FaultFleet | undefined;
  try {
    for (const round of rounds) {
      if (options.signal.aborted) break;
      if (needsDisks(round.fault) && !options.disks) continue;
      fleet ??= await freshFleet(options, round.number).catch(() => freshFleet(options, round.number));
      const result = await doRound(fleet, round);
      results.push(result);
      options.onResult(result);
      if (result.violations.length === 0 && round.activity !== 'restore') continue;
      const old = fleet;
      fleet = undefined;
      await old.close();
    }
  } finally {
    await fleet?.close();
  }
  return results;
}

/** A machine that is very busy may not start one in time; the caller tries once more. */
async function freshFleet({ agents, disks, logs }: SessionOptions, number: number): Promise<FaultFleet> {
  const fleet = await startFleet({ disks, logs: join(logs, `from-round-${number}`) });
  try {
    await joinAgents(fleet, agents);
    for (const { callers } of fleet.agents) callers.resume();
    await equip(fleet);
    await Promise.all(fleet.agents.map(({ callers }) => callers.pause()));
    return fleet;
  } catch (error) {
    await fleet.close();
    throw error;
  }
}
