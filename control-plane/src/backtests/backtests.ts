// Backtests: a version is run over captured samples of the field, beside the version that devices have. One at a time; what was
// under way when the server ended is made anew.
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type Backtest, BacktestCreate } from '@edgeloop/shared/api/backtests';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import type { GateVerdict, Rollout } from '@edgeloop/shared/api/rollouts';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { createBell } from '@edgeloop/shared/node/bell';
import type { Labels } from '@edgeloop/shared/selector';
import type { Logger } from 'pino';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import type { Blobs } from '../blobs/folder.ts';
import type { Data } from '../data/data.ts';
import { afterCommit, type Database, type Transaction } from '../database/open.ts';
import { isStorageFailure } from '../database/storage-failure.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import type { Registry } from '../registry/registry.ts';
import { createBacktestStore, type StoredBacktest } from './backtest-store.ts';
import { chooseBaseline } from './baseline.ts';
import { type Compared, compare } from './comparing.ts';
import type { ReplayLimits } from './replay.ts';
import { type BacktestBounds, backtestVerdict, underWay } from './verdict.ts';

export interface BacktestsDeps {
  database: Database;
  registry: Pick<Registry, 'version' | 'model' | 'contract'>;
  blobs: Pick<Blobs, 'path'>;
  samples: Pick<Data, 'fieldSamples'>;
  fleet: Pick<Fleet, 'deployed'> & { devices: () => Promise<ReadonlyMap<string, { labels: Labels }>> };
  /** That the one of a rollout has ended. */
  ended: (rolloutId: string) => void;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
  scratchDir: string;
  limits?: ReplayLimits;
}

export interface Asking {
  model: string;
  version: number;
  asked: BacktestCreate;
  actor: string;
  rolloutId?: string;
  bounds?: BacktestBounds;
}

export type Backtests = ReturnType<typeof createBacktests>;

const defaultLimits: ReplayLimits = { budgetMs: 120_000, timeoutMs: 240_000, maxRssBytes: 2 * 1024 ** 3 };
const idleMs = 60_000;
const againMs = 1000;
/** Of a version, beside those of rollouts. */
const kept = 20;
const keptEnded = 100;
const mostListed = 20;

export function createBacktests(deps: BacktestsDeps) {
  const { database, registry, now, notify, log } = deps;
  const store = createBacktestStore(database.tables);
  const bell = createBell();
  const stopping = new AbortController();
  let running: Promise<void> = Promise.resolve();
  let timesAsked = 0;
  /** Those of rollouts that are over, the last ones that were asked for: rollouts look each second. */
  const ended = new Map<string, { backtest: Backtest; verdict: GateVerdict }>();

  function keepEnded(rolloutId: string, told: { backtest: Backtest; verdict: GateVerdict }): void {
    ended.set(rolloutId, told);
    const [oldest] = ended.keys();
    if (ended.size > keptEnded && oldest !== undefined) ended.delete(oldest);
  }

  async function insert(tx: Transaction, { model, version, asked, actor, rolloutId, bounds }: Asking): Promise<string> {
    const id = uuid();
    const at = now();
    const row = { id, model, version, status: 'queued', asked, createdAt: at, createdBy: actor };
    await store.insert(tx, { ...row, rolloutId: rolloutId ?? null, bounds: bounds ?? null });
    const about = { actor, action: 'backtest.create', subject: `backtest/${id}` };
    await recordAudit(database.tables, tx, { at, ...about, after: { model, version, ...asked, rolloutId } });
    afterCommit(tx, () => {
      timesAsked += 1;
      if (rolloutId !== undefined) ended.delete(rolloutId);
      tell(model, 'queued', rolloutId);
      bell.ring();
    });
    return id;
  }

  function tell(model: string, state: string, rolloutId?: string | null): void {
    notify({ type: 'model', id: model, state: `backtest ${state}` });
    if (rolloutId != null) notify({ type: 'rollout', id: rolloutId, state: `backtest ${state}` });
  }

  async function make(backtest: StoredBacktest): Promise<void> {
    const { id, model, version, asked, rolloutId } = backtest;
    await database.transact((tx) => store.update(tx, id, { status: 'running', startedAt: now() }));
    tell(model, 'running', rolloutId);
    const folder = join(deps.scratchDir, id);
    let compared: Compared;
    try {
      await mkdir(folder, { recursive: true });
      const { aliases } = await registry.model(model);
      const deployed = await deps.fleet.deployed(model);
      const chosen = chooseBaseline({ candidate: version, asked: asked.baseline, aliases, deployed });
      const devices = await deps.fleet.devices();
      const { contract } = registry;
      const labelsOf = (deviceId: string) => devices.get(deviceId)?.labels;
      const comparing = { ...deps, contract, labelsOf, limits: deps.limits ?? defaultLimits };
      const path = join(folder, 'rows.f32');
      compared = await compare(comparing, { model, version, asked, chosen, path, signal: stopping.signal });
    } catch (error) {
      // The next start makes it anew, and so does this one when there is room again.
      if (stopping.signal.aborted || isStorageFailure(error)) throw error;
      if (!(error instanceof AppError)) log.error({ err: error, backtest: id }, 'a backtest failed');
      compared = { failure: { by: 'server', detail: messageOf(error) } };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    await write(backtest, compared);
  }

  async function write({ id, model, version, bounds, rolloutId }: StoredBacktest, compared: Compared): Promise<void> {
    const verdict = bounds === null ? null : backtestVerdict(bounds, compared);
    const found = 'report' in compared ? { report: compared.report } : { failure: compared.failure };
    const status = 'report' in compared ? 'done' : 'failed';
    await database.transact(async (tx) => {
      const at = now();
      await store.update(tx, id, { ...found, status, verdict, endedAt: at });
      await store.prune(tx, model, version, kept);
      const about = { actor: 'system', action: 'backtest.end', subject: `backtest/${id}` };
      await recordAudit(database.tables, tx, { at, ...about, after: { status, verdict: verdict?.verdict } });
    });
    tell(model, status, rolloutId);
    if (rolloutId !== null) deps.ended(rolloutId);
  }

  async function loop(): Promise<void> {
    const { signal } = stopping;
    while (!signal.aborted) {
      await database.writable(signal);
      bell.answer();
      let restMs = idleMs;
      try {
        const next = await store.next(database.read);
        if (next !== undefined) {
          await make(next);
          continue;
        }
      } catch (error) {
        if (signal.aborted) return;
        log.error({ err: error }, 'backtests could not be looked after; trying again');
        restMs = againMs;
      }
      await bell.rest(restMs, signal);
    }
  }

  return {
    /** Queues one. @throws AppError `not_found`; `invalid_request` for a baseline that is the version itself */
    async create(actor: string, { model, version, asked }: Omit<Asking, 'actor'>): Promise<Backtest> {
      await registry.version(model, version);
      if (asked.baseline === version)
        throw new AppError(
          'invalid_request',
          `baseline: version ${version} is what is to be compared; name another one`,
        );
      if (asked.baseline !== undefined) await registry.version(model, asked.baseline);
      const id = await database.transact((tx) => insert(tx, { model, version, asked, actor }));
      return this.backtest(model, version, id);
    },

    /** @throws AppError `not_found` */
    async backtest(model: string, version: number, id: string): Promise<Backtest> {
      const found = await store.backtest(database.read, id);
      if (found?.model !== model || found.version !== version)
        throw new AppError('not_found', `version ${version} of model "${model}" has no backtest "${id}"`);
      return shown(found);
    },

    /** Newest first. @throws AppError `not_found` for the version */
    async list({ cursor, ...of }: PageQuery & { model: string; version: number }): Promise<Page<Backtest>> {
      // Each has its whole report.
      const limit = Math.min(of.limit, mostListed);
      await registry.version(of.model, of.version);
      const beforeId = decodeCursor(z.string(), cursor);
      const rows = await store.list(database.read, { ...of, beforeId, limit: limit + 1 });
      const page = toPage(rows, limit, ({ id }) => id);
      return { ...page, items: page.items.map(shown) };
    },

    /** The newest of the version that has a report, else the newest. */
    async newest(model: string, version: number): Promise<Backtest | null> {
      const found = await store.newest(database.read, model, version);
      return found === undefined ? null : shown(found);
    },

    /** Queues one for a rollout's gate, within the transaction of who asks, unless one is under way or has passed. */
    async ask(tx: Transaction, { id: rolloutId, model, version, plan }: Rollout, actor: string): Promise<void> {
      const { backtest: gate, maxErrorRate } = plan.gates;
      if (gate.mode === 'off') return;
      const known = await store.ofRollout(tx, rolloutId);
      if (known !== undefined && (known.endedAt === null || known.verdict?.verdict === 'passed')) return;
      const asked = BacktestCreate.parse({ days: gate.days, selector: plan.selector });
      await insert(tx, { model, version, asked, actor, rolloutId, bounds: { ...gate, maxErrorRate } });
    },

    /** The newest of a rollout's gate, and its verdict. */
    async of(rolloutId: string): Promise<{ backtest: Backtest; verdict: GateVerdict } | undefined> {
      const known = ended.get(rolloutId);
      if (known !== undefined) return known;
      const before = timesAsked;
      const found = await store.ofRollout(database.read, rolloutId);
      if (found === undefined) return undefined;
      const verdict = found.verdict ?? underWay(found.bounds ?? { mode: 'gate' }, found.summary);
      const told = { backtest: shown(found), verdict };
      // Another one may have been asked for while this one was read.
      if (found.endedAt !== null && timesAsked === before) keepEnded(rolloutId, told);
      return told;
    },

    start(): void {
      running = loop();
    },

    /** Ends what is under way; it is made anew after the next start. */
    async close(): Promise<void> {
      stopping.abort(new AppError('unavailable', 'the server is stopping'));
      await running;
    },
  };
}

function shown({ bounds: _bounds, verdict: _verdict, ...backtest }: StoredBacktest): Backtest {
  return backtest;
}
