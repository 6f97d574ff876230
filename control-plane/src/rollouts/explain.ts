// Why a rollout stands where it stands, what it waits for and until when, in one sentence: the same for the API, the command
// line and the page.
import type { Backtest } from '@edgeloop/shared/api/backtests';
import {
  type DeviceCounts,
  type GateVerdict,
  type Rollout,
  type RolloutState,
  rolloutDeviceStates,
} from '@edgeloop/shared/api/rollouts';
import { approverWords } from './approvals.ts';
import { progressOf, waitedUntil } from './device-state.ts';
import { holds } from './gates.ts';
import { instant } from './instant.ts';
import { deviceCounts, type Progress } from './progress.ts';
import { describeThrottle } from './throttle.ts';
import { waveWords } from './waves.ts';

type Running = Extract<RolloutState, { phase: 'running' }>;
type Waiting = Extract<RolloutState, { phase: 'awaiting_approval' }>;

export interface Explained {
  rollout: Rollout;
  /** Of one under way or paused. */
  progress: Progress | undefined;
  gates: readonly GateVerdict[];
  /** Of one that is over: how its devices ended, and the first of those that failed. */
  ended?: DeviceCounts | undefined;
  failures?: readonly { deviceId: string; detail: string | null }[] | undefined;
  /** Of its gate, for one that nobody has approved yet. */
  backtest?: Backtest | undefined;
  now: number;
}

export function explain(asked: Explained): string {
  const { rollout, progress } = asked;
  const { state, plan } = rollout;
  switch (state.phase) {
    case 'awaiting_approval':
      return waitingForApproval(asked, state);
    case 'running':
      return progress === undefined ? waveName(rollout, state) : running(asked, progress, state);
    case 'paused':
      return `paused at ${waveName(rollout, state.resume)}: ${state.reason}${standingOf(progress, state.resume)}; it waits for an operator to resume, retry, cancel or roll back`;
    case 'completed':
      return `completed at ${instant(state.at)}${summed(asked)}`;
    case 'cancelled':
      return `${state.reason} at ${instant(state.at)}; devices that run the version keep it, no other gets it${summed(asked)}`;
    case 'superseded':
      return `superseded at ${instant(state.at)} by the newer rollout ${state.by}, which has all its devices`;
    case 'rolling_back': {
      const until = instant(state.since + plan.deployTimeoutSeconds * 1000);
      const left = progress?.missing({ now: asked.now, listeningSince: 0 }) ?? [];
      const named = left.slice(0, 3).map((each) => `${each.id}: ${progressOf(each)}`);
      const who = left.length === 0 ? 'the devices' : `${count(left.length, 'device')} (${listed(named, left.length)})`;
      return `rolling back: ${state.reason}; it waits for ${who} to confirm, until ${until} at the latest`;
    }
    case 'rolled_back':
      return `rolled back at ${instant(state.at)}: ${state.reason}${summed(asked)}`;
  }
}

function backtestText(backtest: Backtest | undefined): string {
  return backtest === undefined ? '' : `; its backtest: ${backtest.summary}`;
}

function waveName({ plan }: Rollout, { wave }: Running): string {
  return waveWords(plan, wave);
}

function waitingForApproval({ rollout, progress, gates, backtest, now }: Explained, state: Waiting): string {
  const { id, plan } = rollout;
  const before = state.wave === undefined ? `the first of ${plan.waves.length} waves` : waveWords(plan, state.wave);
  const since = instant(state.since ?? rollout.createdAt);
  const name = state.name === undefined ? '' : ` --wave ${quoted(state.name)}`;
  const waits = `waits for approval before ${before} since ${since}, by ${approverWords(rollout, state)}: edgeloop rollouts approve ${id}${name}`;
  if (state.after === undefined) return waits + backtestText(backtest);
  const open = gates.filter(holds).map(({ gate, detail }) => `${gate} (${detail})`);
  const verdict = open.length === 0 ? 'its gates pass' : `not passed now: ${open.join(' and ')}`;
  const troubles = progress === undefined ? '' : troublesOf(progress, now);
  const parts = [waits, `${waveName(rollout, state.after)}${standingOf(progress, state.after)}, ${verdict}`];
  return [...parts, ...(troubles === '' ? [] : [troubles])].join('; ');
}

/** As a shell takes it. */
function quoted(word: string): string {
  return /^[\w.-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function running({ rollout, gates, now }: Explained, progress: Progress, state: Running): string {
  const parts = [`${waveName(rollout, state)}, ${state.step}${standingOf(progress, state)}`];
  const waits = waitsFor({ rollout, gates, progress, state });
  if (waits !== undefined) parts.push(`it waits for ${waits}`);
  const troubles = troublesOf(progress, now);
  if (troubles !== '') parts.push(troubles);
  if (progress.conflicting.size > 0)
    parts.push(
      `${count(progress.conflicting.size, 'device')} ahead of this server: edgeloop devices resolve ID --follow or --keep`,
    );
  return parts.join('; ');
}

function waitsFor({
  rollout: { plan },
  gates,
  progress,
  state,
}: Pick<Explained, 'rollout' | 'gates'> & { progress: Progress; state: Running }): string | undefined {
  const { successor } = progress;
  if (state.step === 'backtesting' && successor === undefined)
    return `its backtest, before any device is told: ${gates.find(({ gate }) => gate === 'backtest')?.detail ?? ''}`;
  if (successor !== undefined) return `the newer rollout ${successor}, to which all its devices are left`;
  const ready = progress.readyIn(state.wave);
  const counts = deviceCounts(progress.wave(state.wave));
  if (Object.keys(counts).length === 0 && ready === 0) return 'devices that match';
  if (state.step === 'judging') {
    const open = gates.filter(holds).map(({ gate, detail }) => `${gate} (${detail})`);
    const until = instant(state.since + plan.gates.evidenceTimeoutSeconds * 1000);
    return open.length === 0 ? undefined : `the verdict of ${open.join(' and ')} until ${until}, then it pauses`;
  }
  const told = progress.lastToldAt();
  const { wave } = state;
  const absent = (progress.wave(wave).offline ?? 0) + (progress.wave(wave).awaited ?? 0);
  const longest = told === undefined ? undefined : lastAt(plan, told, absent);
  const under = (counts.deploying ?? 0) + (counts.baking ?? 0) + absent;
  const later = ready === 0 ? [] : [`${count(ready, 'device')} still to be told${throttled(progress)}`];
  const busy = under === 0 ? [] : [`${count(under, 'device')} under way`];
  const until = longest === undefined || ready > 0 ? '' : `, until ${instant(longest)} at the latest`;
  return [...later, ...busy].length === 0 ? undefined : [...later, ...busy].join(' and ') + until;
}

/** When all that were told must have ended; `absent`: how many are waited for that are not there. */
function lastAt(plan: Rollout['plan'], told: number, absent: number): number {
  const ended = told + (plan.deployTimeoutSeconds + plan.bakeSeconds) * 1000;
  return absent === 0 ? ended : Math.max(ended, waitedUntil(plan, { assignedAt: told }));
}

function throttled(progress: Progress): string {
  const why = describeThrottle(progress);
  return why === '' ? '' : ` (${why})`;
}

/** `: 3 of 4 devices healthy, 1 deploying`. */
function standingOf(progress: Progress | undefined, { wave }: Running): string {
  if (progress === undefined) return '';
  const { healthy = 0, ...others } = deviceCounts(progress.wave(wave));
  const rest = Object.entries(others);
  const total = rest.reduce((sum, [, each]) => sum + (each ?? 0), healthy);
  if (total === 0) return '';
  const words = rest.map(([state, each]) => `${each} ${state.replaceAll('_', ' ')}`);
  return `: ${[`${healthy} of ${count(total, 'device')} healthy`, ...words].join(', ')}`;
}

/** The first devices that cannot go on by themselves, in their own words. */
function troublesOf(progress: Progress, now: number): string {
  const troubled = new Set<string>();
  for (const ids of [progress.failed, progress.given]) {
    for (const id of ids) {
      if (troubled.size === 3) break;
      const view = progress.view(id);
      const candidate = view?.report?.candidate;
      const told = candidate?.error !== undefined || candidate?.held !== undefined || (view?.problems.length ?? 0) > 0;
      if (!told && !progress.failed.has(id)) continue;
      const stands = progress.standing(id, now);
      if (stands !== undefined && stands.state !== 'healthy') troubled.add(`${id}: ${stands.detail}`);
    }
  }
  return [...troubled].join('; ');
}

function summed({ ended, failures = [] }: Explained): string {
  const words = rolloutDeviceStates.flatMap((state) => {
    const each = ended?.[state];
    return each === undefined ? [] : [`${each} ${state.replaceAll('_', ' ')}`];
  });
  if (words.length === 0) return '';
  const named = failures.map(({ deviceId, detail }) => `${deviceId}: ${detail ?? 'failed'}`);
  const failed = (ended?.failed ?? 0) + (ended?.timed_out ?? 0);
  return `: ${words.join(', ')}${named.length === 0 ? '' : ` (${listed(named, failed)})`}`;
}

function listed(names: readonly string[], all: number): string {
  return all > names.length ? `${names.join(', ')}, …` : names.join(', ');
}

function count(n: number, what: string): string {
  return n === 1 ? `1 ${what}` : `${n} ${what}s`;
}
