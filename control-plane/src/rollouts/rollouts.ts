// Rollouts: staged releases of a model version to the devices that a selector names.
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Page } from '@edgeloop/shared/api/paging';
import { type Rollout, type RolloutCreate, type RolloutDetail, RolloutPlan } from '@edgeloop/shared/api/rollouts';
import { AppError } from '@edgeloop/shared/errors';
import { parseSelector } from '@edgeloop/shared/selector';
import type { Logger } from 'pino';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import type { Database } from '../database/open.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import type { Registry } from '../registry/registry.ts';
import { act, firstWave, type RolloutAction, type Word } from './actions.ts';
import { describeState } from './history.ts';
import { createRolloutDriver } from './rollout-driver.ts';
import { decide } from './rollout-state.ts';
import { createRolloutStore, type RolloutStore } from './rollout-store.ts';
import { type EvidenceSource, lookAt } from './views.ts';

export interface RolloutsDeps {
  database: Database;
  fleet: Fleet;
  registry: Pick<Registry, 'version'>;
  evidence: EvidenceSource;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
  lookEveryMs?: number;
}

export interface RolloutList {
  model?: string | undefined;
  phase?: string | undefined;
  limit: number;
  cursor?: string | undefined;
}

export type Rollouts = ReturnType<typeof createRollouts>;

export function createRollouts(given: RolloutsDeps) {
  const { database, fleet, registry, now, notify } = given;
  const deps = { ...given, listeningSince: given.now() };
  const store = createRolloutStore(database.tables);
  const stored: Stored = { database, store, now };
  const driver = createRolloutDriver({ ...deps, store });

  async function known(id: string): Promise<Rollout> {
    const rollout = await store.rollout(database.read, id);
    if (rollout === undefined) throw unknown(id);
    return rollout;
  }

  async function detail(id: string): Promise<RolloutDetail> {
    const rollout = await known(id);
    const started = await store.inPhases(database.read, ['running', 'paused', 'completed']);
    const round = { candidates: await fleet.matching([]), started };
    const { verdicts, gates } = decide(await lookAt({ ...deps, store, reader: database.read }, rollout, round));
    return { ...rollout, devices: verdicts, gates, history: await store.history(database.read, id) };
  }

  return {
    /** @throws AppError `not_found` for the version; `invalid_request` for the plan */
    async create(actor: string, { model, version, ...given }: RolloutCreate): Promise<Rollout> {
      await registry.version(model, version);
      const plan = RolloutPlan.parse(given);
      const matching = await fleet.matching(parseSelector(plan.selector));
      const rollout = newRollout({ model, version, plan, actor, at: now() });
      await insertRollout(stored, rollout, matching.length);
      notify({ type: 'rollout', id: rollout.id, state: rollout.state.phase });
      driver.wake();
      return rollout;
    },

    /** With every device and gate as they stand now. @throws AppError `not_found` */
    detail,

    /** Newest first. */
    async list({ cursor, limit, ...filter }: RolloutList): Promise<Page<Rollout>> {
      const beforeId = decodeCursor(z.string(), cursor);
      const rows = await store.list(database.read, { ...filter, beforeId, limit: limit + 1 });
      return toPage(rows, limit, (rollout) => rollout.id);
    },

    /** @throws AppError `not_found`; `conflict` naming the phases that allow it */
    async act(actor: string, id: string, action: RolloutAction, reason: string): Promise<RolloutDetail> {
      const state = await writeAction(stored, id, { actor, action, reason });
      notify({ type: 'rollout', id, state: state.phase });
      driver.wake();
      return detail(id);
    },

    /** Something that rollouts depend on changed: a device's report, presence or labels. Cheap to call often. */
    wake: driver.wake,
    /** Looks once, now. */
    look: driver.look,
    start: driver.start,
    close: driver.close,
  };
}

interface Stored {
  database: Database;
  store: RolloutStore;
  now: () => number;
}

interface Asked extends Pick<Rollout, 'model' | 'version' | 'plan'> {
  actor: string;
  at: number;
}

function newRollout({ model, version, plan, actor, at }: Asked): Rollout {
  const state = plan.approval ? { phase: 'awaiting_approval' as const } : firstWave(at);
  return { id: uuid(), model, version, plan, state, createdAt: at, createdBy: actor, updatedAt: at };
}

/** `matching`: how many devices the selector names now. */
async function insertRollout({ database, store }: Stored, rollout: Rollout, matching: number): Promise<void> {
  const { id, model, version, plan, state, createdAt: at, createdBy: actor } = rollout;
  await database.transact(async (tx) => {
    await store.insert(tx, rollout);
    const matched = matching === 0 ? 'no device matches yet' : `${matching} devices match now`;
    await store.tell(tx, id, { at, text: `created by ${actor}; ${matched}` });
    await store.tell(tx, id, { at, text: describeState(state, plan.waves.length) });
    const about = { actor, action: 'rollout.create', subject: `rollout/${id}` };
    await recordAudit(database.tables, tx, { at, ...about, after: { model, version, plan } });
  });
}

async function writeAction(
  { database, store, now }: Stored,
  id: string,
  { action, actor, reason }: Omit<Word, 'now'>,
): Promise<Rollout['state']> {
  return database.transact(async (tx) => {
    const rollout = await store.rollout(tx, id);
    if (rollout === undefined) throw unknown(id);
    const at = now();
    const before = rollout.state;
    const after = act(before, { action, actor, reason, now: at });
    await store.setState(tx, id, { state: after, at });
    const text = action === 'resume' || action === 'approve' ? spoken(action, actor, reason) : describeState(after, 0);
    await store.tell(tx, id, { at, text });
    const subject = `rollout/${id}`;
    await recordAudit(database.tables, tx, { at, actor, action: `rollout.${action}`, subject, before, after });
    return after;
  });
}

function spoken(action: 'resume' | 'approve', actor: string, reason: string): string {
  const what = action === 'resume' ? 'resumed' : 'approved';
  return reason === '' ? `${what} by ${actor}` : `${what} by ${actor}: ${reason}`;
}

function unknown(id: string): AppError {
  return new AppError('not_found', `there is no rollout "${id}"`);
}
