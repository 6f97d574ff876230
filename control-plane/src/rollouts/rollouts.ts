// Rollouts: staged releases of a model version to the devices that a selector names.
import { BacktestCreate } from '@edgeloop/shared/api/backtests';
import type { ChangeEvent } from '@edgeloop/shared/api/events';
import type { RolloutForecast, RolloutRehearsal } from '@edgeloop/shared/api/forecasts';
import type { Page, PageQuery } from '@edgeloop/shared/api/paging';
import {
  type DeviceCounts,
  kindOf,
  presentWave,
  type Rollout,
  type RolloutCreate,
  type RolloutDetail,
  type RolloutDevice,
  type RolloutDeviceQuery,
  RolloutPlan,
  type RolloutShow,
} from '@edgeloop/shared/api/rollouts';
import { parse } from '@edgeloop/shared/errors';
import { inSlices } from '@edgeloop/shared/node/breath';
import { matches, parseSelector } from '@edgeloop/shared/selector';
import type { Logger } from 'pino';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import { recordAudit } from '../access/audit.ts';
import type { Database } from '../database/open.ts';
import type { Candidate, Fleet } from '../fleet/fleet.ts';
import type { Traffic } from '../gates/forecast.ts';
import { decodeCursor, toPage } from '../http/paging.ts';
import type { Registry } from '../registry/registry.ts';
import type { RolloutAction } from './actions.ts';
import { type Approver, firstState } from './approvals.ts';
import { type BacktestSource, withBacktest } from './backtest-gate.ts';
import { type Explained, explain } from './explain.ts';
import { createFieldGates, type FieldSource } from './field-gates.ts';
import { type PlannedDevice, rehearse } from './forecast.ts';
import { describeState } from './history.ts';
import { type Spoken, unknownRollout, writeAction } from './operator-words.ts';
import { createReadiness } from './readiness.ts';
import { createRolloutDriver } from './rollout-driver.ts';
import { createRolloutStore, type RolloutStore } from './rollout-store.ts';
import { createTracing, type TracingDeps } from './tracing.ts';
import { createVariantCount } from './variant-count.ts';
import { verdictsOf } from './verdicts.ts';
import type { EvidenceSource } from './views.ts';
import { planWaves } from './waves.ts';

export interface RolloutsDeps {
  database: Database;
  fleet: Fleet;
  registry: Pick<Registry, 'version' | 'aliased' | 'moveAlias'>;
  evidence: EvidenceSource;
  /** Changes whenever there is new evidence on a model. */
  evidenceVersion?: (model: string) => number;
  field: FieldSource;
  traffic: TrafficSource;
  backtests: BacktestSource;
  now: () => number;
  notify: (event: Omit<ChangeEvent, 'at'>) => void;
  log: Logger;
  lookEveryMs?: number;
  /** Where traces are exported. */
  sendSpans?: TracingDeps['send'] | undefined;
}

export interface RolloutList {
  model?: string | undefined;
  phase?: string | undefined;
  limit: number;
  cursor?: string | undefined;
}

/** Devices that failed and are named where a rollout is told of in one sentence. */
const namedFailures = 3;

type Ended = Pick<Explained, 'ended' | 'failures'>;

export type Rollouts = ReturnType<typeof createRollouts>;
type UnaskedAction = Exclude<RolloutAction, 'approve'>;

export function createRollouts(given: RolloutsDeps) {
  const { database, fleet, registry, traffic, backtests, now, notify } = given;
  const store = createRolloutStore(database.tables);
  const stored: Stored = { database, store, backtests, now };
  const operating = { ...given, store };
  const variantCount = createVariantCount(registry);
  const gates = withBacktest(createFieldGates({ ...given, variantCount }), backtests);
  const tracing = given.sendSpans && createTracing({ ...given, store, send: given.sendSpans });
  const driver = createRolloutDriver({ ...given, gates, variantCount, store, tracing, listeningSince: given.now() });

  async function known(id: string): Promise<Rollout> {
    const rollout = await store.rollout(database.read, id);
    if (rollout === undefined) throw unknownRollout(id);
    return rollout;
  }

  async function detail(
    id: string,
    { devices: wanted = 'all' }: z.input<typeof RolloutShow> = {},
  ): Promise<RolloutDetail> {
    const rollout = await known(id);
    const { tracked, gates: live } = await driver.see(rollout);
    const { progress } = tracked;
    const devices = wanted === 'all' ? await inSlices(verdictsOf(progress, rollout.state, now())) : [];
    const waves = await store.waves(database.read, id);
    const gates = live.length > 0 ? [...live] : (waves.findLast((wave) => wave.gates.length > 0)?.gates ?? []);
    const backtest = await backtestOf(rollout);
    const over = await store.outcomes(database.read, [id]);
    const status = explain({ rollout, progress, gates, ...(await endOf(id, over.get(id))), backtest, now: now() });
    return {
      ...rollout,
      status,
      devices,
      gates,
      waves,
      backtest: backtest ?? null,
      history: await store.history(database.read, id),
    };
  }

  /** How the devices of one that is over ended, and the first that failed. */
  async function endOf(id: string, ended: DeviceCounts | undefined): Promise<Ended> {
    const failed = (ended?.failed ?? 0) + (ended?.timed_out ?? 0);
    return { ended, failures: failed === 0 ? [] : await store.failures(database.read, id, namedFailures) };
  }

  async function devices(
    id: string,
    { limit, cursor, state, wave }: PageQuery & z.output<typeof RolloutDeviceQuery>,
  ): Promise<Page<RolloutDevice>> {
    const after = decodeCursor(z.string(), cursor);
    const rollout = await known(id);
    const { tracked } = await driver.see(rollout);
    const all = await inSlices(verdictsOf(tracked.progress, rollout.state, now()));
    const asked = all.filter(
      (each) =>
        (after === undefined || each.deviceId > after) &&
        (state === undefined || each.state === state) &&
        (wave === undefined || each.wave === wave),
    );
    return toPage(asked.slice(0, limit + 1), limit, ({ deviceId }) => deviceId);
  }

  async function backtestOf({ id, plan }: Rollout) {
    return plan.gates.backtest.mode === 'off' ? undefined : (await backtests.of(id))?.backtest;
  }

  /** With the sentence, as far as it costs little. */
  async function explained(rollouts: Rollout[]): Promise<Rollout[]> {
    const over = await store.outcomes(
      database.read,
      rollouts.map(({ id }) => id),
    );
    return Promise.all(
      rollouts.map(async (rollout) => {
        const open = rollout.state.phase === 'rolling_back' || presentWave(rollout.state) !== undefined;
        const seen = open ? await driver.see(rollout) : undefined;
        const { progress } = seen?.tracked ?? {};
        const backtest = rollout.state.phase === 'awaiting_approval' ? await backtestOf(rollout) : undefined;
        const asked = {
          rollout,
          progress,
          gates: seen?.gates ?? [],
          ...(await endOf(rollout.id, over.get(rollout.id))),
          now: now(),
        };
        return { ...rollout, status: explain({ ...asked, backtest }) };
      }),
    );
  }

  async function say(id: string, spoken: Spoken): Promise<RolloutDetail> {
    const { state, touched } = await writeAction(operating, id, spoken);
    driver.stateWritten();
    driver.forget(id);
    await driver.tell(touched);
    notify({ type: 'rollout', id, state: state.phase });
    return detail(id);
  }

  return {
    /**
     * `traceparent`: the trace of the request, which then shows the rollout.
     * @throws AppError `not_found` for the version; `invalid_request` for the plan
     */
    async create(
      actor: string,
      { model, version: asked, ...given }: RolloutCreate,
      traceparent?: string,
    ): Promise<Rollout> {
      const version = typeof asked === 'number' ? asked : await registry.aliased(model, asked);
      await registry.version(model, version);
      const plan = plannedWith(given);
      const matching = await fleet.matching(parseSelector(plan.selector));
      const begun = newRollout({ model, version, plan, actor, at: now() });
      const rollout = traceparent === undefined ? begun : { ...begun, traceparent };
      const conflicting = matching.filter(({ conflictSince }) => conflictSince !== null).length;
      const alias = typeof asked === 'number' ? undefined : asked;
      await insertRollout(stored, rollout, { matching: matching.length, conflicting, alias });
      notify({ type: 'rollout', id: rollout.id, state: rollout.state.phase });
      driver.stateWritten();
      return rollout;
    },

    /** What it would do, without doing it; a backtest of the version is begun when asked. @throws AppError `not_found` */
    async plan(actor: string, asking: RolloutRehearsal): Promise<RolloutForecast> {
      const { model, version: asked, backtest: wanted, ...given } = asking;
      const version = typeof asked === 'number' ? asked : await registry.aliased(model, asked);
      await registry.version(model, version);
      const plan = plannedWith(given);
      const candidates = await fleet.matching(parseSelector(plan.selector));
      const started = await store.inPhases(database.read, ['running', 'awaiting_approval', 'paused']);
      const open = started.filter(({ state }) => presentWave(state) !== undefined);
      const forecast = rehearse({
        ...{ model, version, plan, devices: inWaves({ model, plan, now: now() }, candidates) },
        traffic: await traffic(trafficOf({ model, version, plan, candidates })),
        supersedes: claimedBy(open, { model, priority: plan.priority }, candidates),
      });
      const { days } = plan.gates.backtest;
      const samples = BacktestCreate.parse({ days, selector: plan.selector });
      const backtest = wanted
        ? await backtests.create(actor, { model, version, asked: samples })
        : await backtests.newest(model, version);
      return { ...forecast, backtest };
    },

    /** With every device and gate as they stand now. @throws AppError `not_found` */
    detail,

    /** Its devices by id, as they stand now. @throws AppError `not_found` */
    devices,

    /** Newest first. */
    async list({ cursor, limit, ...filter }: RolloutList): Promise<Page<Rollout>> {
      const beforeId = decodeCursor(z.string(), cursor);
      const rows = await store.list(database.read, { ...filter, beforeId, limit: limit + 1 });
      const page = toPage(rows, limit, (rollout) => rollout.id);
      return { ...page, items: await explained(page.items) };
    },

    /**
     * `take_back` cancels and takes the version back from the devices that run it.
     * @throws AppError `not_found`; `conflict` naming the phases that allow it
     */
    async act(actor: string, id: string, asked: UnaskedAction | 'take_back', reason: string): Promise<RolloutDetail> {
      const rollout = await known(id);
      const isBefore = rollout.state.phase === 'awaiting_approval' && presentWave(rollout.state) === undefined;
      const given = isBefore ? 'cancel' : 'rollback';
      const seen = await driver.see(rollout);
      return say(id, { action: asked === 'take_back' ? given : asked, actor, reason, seen });
    },

    /**
     * Lets the rollout, or the wave that it names, begin.
     * @throws AppError `not_found`; `conflict` when that does not wait for it; `forbidden` naming the role that may
     */
    async approve(approver: Approver, id: string, reason: string): Promise<RolloutDetail> {
      const seen = await driver.see(await known(id));
      return say(id, { action: 'approve', actor: approver.name, approver, reason, seen });
    },

    /** Something that rollouts depend on changed. Cheap to call often. */
    wake: driver.wake,
    /** Looks once, now. */
    look: driver.look,
    start: driver.start,
    close: driver.close,
  };
}

/** The plan with the wave that the short form stands for. @throws AppError `invalid_request` when there are too many then */
function plannedWith(given: unknown): RolloutPlan {
  const { shadow, ...plan } = RolloutPlan.parse(given);
  if (shadow !== true || plan.waves.some((wave) => kindOf(wave) === 'shadow')) return plan;
  const first = plan.waves.find((wave) => kindOf(wave) === 'serve');
  if (first === undefined) return plan;
  const { name: _, ...size } = first;
  return parse(RolloutPlan, { ...plan, waves: [{ ...size, kind: 'shadow' }, ...plan.waves] }, 'plan');
}

/** What devices answer in an hour with versions other than this one. */
export type TrafficSource = (asked: {
  model: string;
  version: number;
  matching: ReadonlySet<string>;
  quantile: number;
  patienceMs: number;
}) => Promise<Traffic>;

type Asking = Pick<Rollout, 'model' | 'version' | 'plan'> & { candidates: readonly Candidate[] };

function trafficOf({ model, version, plan, candidates }: Asking): Parameters<TrafficSource>[0] {
  const { gates, bakeSeconds } = plan;
  const matching = new Set(candidates.map(({ id }) => id));
  const patienceMs = (bakeSeconds + gates.evidenceTimeoutSeconds) * 1000;
  return { model, version, matching, quantile: gates.latency.quantile, patienceMs };
}

/** Devices in the order in which waves take them; those ahead of this server have none. */
function inWaves(
  { model, plan, now }: { model: string; plan: RolloutPlan; now: number },
  candidates: readonly Candidate[],
): PlannedDevice[] {
  const readinessOf = createReadiness(plan, now);
  const planned = new Map(
    candidates.map((each) => [
      each.id,
      {
        ...{ id: each.id, online: each.status === 'online', readiness: readinessOf(each) },
        unable: each.reported !== null && each.reported.facts.capabilities?.includes('beside') !== true,
      },
    ]),
  );
  const free = candidates.filter(({ conflictSince }) => conflictSince === null);
  const barred = candidates.filter(({ conflictSince }) => conflictSince !== null);
  const ranked = free.map(({ id, labels, desired }) => ({ id, labels, desired: desired.get(model) ?? null }));
  const placed = [
    ...planWaves({ model, plan }, ranked).map(({ deviceId, wave, later = [] }) => ({
      deviceId,
      waves: [wave, ...later],
    })),
    ...barred.map(({ id }) => ({ deviceId: id, waves: null })),
  ];
  return placed.flatMap(({ deviceId, waves }) => {
    const device = planned.get(deviceId);
    return device === undefined ? [] : [{ ...device, waves }];
  });
}

/** Rollouts under way that have or would have one of these devices, and that a new one goes before. */
function claimedBy(
  open: readonly Rollout[],
  { model, priority }: { model: string; priority: number },
  candidates: readonly Candidate[],
): string[] {
  return open
    .filter((rollout) => rollout.model === model && rollout.plan.priority <= priority)
    .filter(({ plan }) => candidates.some(({ labels }) => matches(parseSelector(plan.selector), labels)))
    .map(({ id }) => id);
}

interface Stored {
  database: Database;
  store: RolloutStore;
  backtests: BacktestSource;
  now: () => number;
}

interface Asked {
  model: string;
  version: number;
  plan: RolloutPlan;
  actor: string;
  at: number;
}

function newRollout({ model, version, plan, actor, at }: Asked): Rollout {
  return {
    id: uuid(),
    model,
    version,
    plan,
    state: firstState(plan, at),
    createdAt: at,
    createdBy: actor,
    updatedAt: at,
  };
}

/** `matching`: how many devices the selector names now. */
async function insertRollout(
  { database, store, backtests }: Stored,
  rollout: Rollout,
  { matching, conflicting, alias }: { matching: number; conflicting: number; alias: string | undefined },
): Promise<void> {
  const { id, model, version, plan, state, createdAt: at, createdBy: actor } = rollout;
  await database.transact(async (tx) => {
    await store.insert(tx, rollout);
    const named = alias === undefined ? '' : ` from the alias "${alias}", version ${version}`;
    const matched = matching === 0 ? 'no device matches yet' : `${matching} devices match now`;
    const ahead =
      conflicting === 0
        ? ''
        : `, ${conflicting} of them ahead of this server: edgeloop devices resolve decides on them`;
    await store.tell(tx, id, { at, text: `created by ${actor}${named}; ${matched}${ahead}` });
    await store.tell(tx, id, { at, text: describeState(state, plan) });
    const about = { actor, action: 'rollout.create', subject: `rollout/${id}` };
    await recordAudit(database.tables, tx, { at, ...about, after: { model, version, plan } });
    await backtests.ask(tx, rollout, actor);
  });
}
