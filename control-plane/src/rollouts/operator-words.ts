// Carries out an operator's word on a rollout, in one transaction with what it does to devices.
import { presentWave, type Rollout, type RolloutState } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import { ActivationTerms } from '@edgeloop/shared/messages';
import { recordAudit } from '../access/audit.ts';
import type { Database, Transaction } from '../database/open.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { Registry } from '../registry/registry.ts';
import { act, type RolloutAction, type Word } from './actions.ts';
import { type Approver, requireApprover } from './approvals.ts';
import { reopen } from './assignments.ts';
import type { BacktestSource } from './backtest-gate.ts';
import { type DeviceView, runsDesired } from './device-state.ts';
import { fallbacksOf, giveBack } from './give-back.ts';
import { describeState, named } from './history.ts';
import { claimsOn } from './precedence.ts';
import { deviceCounts } from './progress.ts';
import type { Seen } from './rollout-driver.ts';
import { endingsOfMembers, failuresOf } from './rollout-state.ts';
import type { HistoryEntry, RolloutStore } from './rollout-store.ts';
import { besideOf, withdraw } from './trials.ts';
import { waveWords } from './waves.ts';

export interface OperatorDeps {
  database: Database;
  store: RolloutStore;
  fleet: Fleet;
  registry: Pick<Registry, 'version'>;
  backtests: Pick<BacktestSource, 'ask'>;
  now: () => number;
}

export interface Spoken extends Omit<Word, 'now' | 'plan'> {
  /** The rollout as it was last looked at. */
  seen: Seen;
  /** Of `approve`. */
  approver?: Approver;
}

interface Acting {
  rollout: Rollout;
  after: RolloutState;
  at: number;
  spoken: Spoken;
}

/** The state after it, and the devices that are to run something else. @throws AppError `not_found`, `conflict`, `forbidden` */
export async function writeAction(
  deps: OperatorDeps,
  id: string,
  spoken: Spoken,
): Promise<{ state: RolloutState; touched: string[] }> {
  const { database, store, now } = deps;
  const { action, actor, reason } = spoken;
  return database.transact(async (tx) => {
    const rollout = await store.rollout(tx, id);
    if (rollout === undefined) throw unknownRollout(id);
    const at = now();
    const before = rollout.state;
    if (before.phase === 'awaiting_approval' && spoken.approver !== undefined)
      requireApprover({ ...rollout, state: before }, spoken.approver);
    const after = act(before, { action, actor, reason, plan: rollout.plan, now: at });
    const touched = await carryOut(deps, tx, { rollout, after, at, spoken });
    const subject = `rollout/${id}`;
    const evidence = evidenceOf(before, spoken);
    const recorded = evidence === undefined ? after : { ...after, evidence };
    await recordAudit(database.tables, tx, {
      at,
      actor,
      action: `rollout.${action}`,
      subject,
      before,
      after: recorded,
    });
    return { state: after, touched };
  });
}

async function carryOut(deps: OperatorDeps, tx: Transaction, acting: Acting): Promise<string[]> {
  const { store } = deps;
  const { rollout, after, at, spoken } = acting;
  const { id, state: before } = rollout;
  if (after.phase === 'rolling_back') {
    await reopen(store, tx, rollout, { state: after, at });
    return [];
  }
  await store.setState(tx, id, { state: after, at });
  if (spoken.action === 'retry') return retry(deps, tx, acting);
  await store.tell(tx, id, { at, ...entryOf(acting) });
  // Samples of today may say what those of then did not.
  if (spoken.action === 'resume' && spoken.seen.tracked.progress.isUntold)
    await deps.backtests.ask(tx, rollout, spoken.actor);
  if (after.phase !== 'cancelled') return [];
  if (before.phase === 'running') await store.stopWave(tx, id, { wave: before.wave, at });
  return cancel(deps, tx, acting);
}

function entryOf({ rollout: { state: before, plan }, after, spoken }: Acting): Omit<HistoryEntry, 'at'> {
  if (spoken.action === 'resume') return { text: told(spoken) };
  if (spoken.action !== 'approve') return { text: describeState(after, plan) };
  if (before.phase !== 'awaiting_approval' || before.wave === undefined) return { text: told(spoken) };
  const evidence = evidenceOf(before, spoken);
  return { text: `${waveWords(plan, before.wave)} ${told(spoken)}`, ...(evidence === undefined ? {} : { evidence }) };
}

/** What an approval was given on: the wave before as it stood then. */
function evidenceOf(before: RolloutState, { action, seen }: Spoken): HistoryEntry['evidence'] {
  const former = action === 'approve' ? presentWave(before) : undefined;
  if (former === undefined) return undefined;
  return { gates: [...seen.gates], counts: deviceCounts(seen.tracked.progress.wave(former.wave)) };
}

/** Nobody who does not run the version yet gets it: not who is under way, and not who is offline. */
async function cancel(deps: OperatorDeps, tx: Transaction, { rollout, at, spoken }: Acting): Promise<string[]> {
  const { store, fleet } = deps;
  const { progress } = spoken.seen.tracked;
  const devices = await fleet.devices();
  const owned = [...devices.values()].filter(({ desired }) => desired.get(rollout.model)?.rolloutId === rollout.id);
  const trying = [...devices.values()].flatMap((device) =>
    device.desired.get(rollout.model)?.beside?.rolloutId === rollout.id ? [device.id] : [],
  );
  await withdraw(fleet, tx, { rollout, deviceIds: trying });
  const others = owned.filter((device) => {
    const report = device.reported?.models.find(({ name }) => name === rollout.model) ?? null;
    return !runsDesired({ report, desired: device.desired.get(rollout.model) ?? null });
  });
  const deviceIds = others.map((device) => device.id);
  const started = await store.inPhases(tx, ['running', 'awaiting_approval', 'paused', 'completed']);
  const fallbacks = await fallbacksOf({ ...deps, reader: tx }, rollout, {
    deviceIds,
    claims: claimsOn(rollout.model, started),
    labels: (id) => devices.get(id)?.labels,
  });
  for (const fallback of fallbacks) await giveBack({ store, fleet }, tx, rollout, { ...fallback, at });
  const withdrawn = new Set(deviceIds);
  const keeping = new Set(owned.filter((device) => !withdrawn.has(device.id)).map((device) => device.id));
  await store.end(tx, rollout.id, failuresOf({ progress, now: at }));
  await store.end(
    tx,
    rollout.id,
    endingsOfMembers(progress, (view) => cancelledEnding(rollout, view, keeping)),
  );
  return [...deviceIds, ...trying];
}

function cancelledEnding({ id, version }: Rollout, view: DeviceView, keeping: ReadonlySet<string>) {
  if (keeping.has(view.id)) return { outcome: 'kept' as const, detail: `keeps version ${version}` };
  const { desired } = view;
  if (desired !== null && desired.rolloutId > id)
    return { outcome: 'taken_over' as const, detail: `taken over by the rollout ${desired.rolloutId}` };
  if (desired?.beside?.rolloutId === id)
    return { outcome: 'unreached' as const, detail: `ran version ${version} beside its own only, and does so no more` };
  return { outcome: 'unreached' as const, detail: `did not run version ${version} yet, and does not get it` };
}

/** Devices that failed or took too long try it once more, on another word. */
async function retry(
  { store, fleet, registry }: OperatorDeps,
  tx: Transaction,
  { rollout, at, spoken }: Acting,
): Promise<string[]> {
  const { id, model } = rollout;
  const { progress } = spoken.seen.tracked;
  const failed = [...progress.failed].filter((deviceId) => progress.view(deviceId)?.conflicting === false);
  if (failed.length === 0)
    throw new AppError('conflict', 'retry needs devices that have failed; none of this rollout has');
  const { version, release, signature } = await registry.version(model, rollout.version);
  const terms = ActivationTerms.parse(rollout.plan);
  const alike = new Map<string, { attempt: number; wave: number; deviceIds: string[] }>();
  for (const deviceId of failed) {
    const { attempt: former = 1, wave = 0 } = progress.member(deviceId) ?? {};
    const group = alike.get(`${former} ${wave}`) ?? { attempt: former + 1, wave, deviceIds: [] };
    group.deviceIds.push(deviceId);
    alike.set(`${former} ${wave}`, group);
  }
  for (const { attempt, wave, deviceIds } of alike.values()) {
    await store.retry(tx, id, { deviceIds, attempt, at });
    const beside = besideOf(rollout, wave, { version, release, signature, attempt });
    if (beside !== undefined) await fleet.runBeside(tx, deviceIds, model, beside);
    else await fleet.assign(tx, deviceIds, model, { version, release, signature, rolloutId: id, attempt, ...terms });
  }
  await store.tell(tx, id, { at, text: `${told(spoken)}: ${named(failed)}` });
  return failed;
}

const spokenWords: Partial<Record<RolloutAction, string>> = {
  resume: 'resumed',
  approve: 'approved',
  retry: 'failed devices try again, as asked',
};

function told({ action, actor, reason }: Spoken): string {
  const what = `${spokenWords[action] ?? action} by ${actor}`;
  return reason === '' ? what : `${what}: ${reason}`;
}

export function unknownRollout(id: string): AppError {
  return new AppError('not_found', `there is no rollout "${id}"`);
}
