// All SQL of rollouts.
import {
  DeviceCounts,
  GateVerdict,
  type Rollout,
  type RolloutDetail,
  RolloutDevice,
  RolloutPlan,
  RolloutState,
  RolloutWave,
} from '@edgeloop/shared/api/rollouts';
import { parse } from '@edgeloop/shared/errors';
import { and, asc, count, desc, eq, gt, inArray, isNotNull, isNull, lt, max, notInArray, type SQL } from 'drizzle-orm';
import { v7 as uuid } from 'uuid';
import { z } from 'zod';
import { inChunks, readPages } from '../database/chunks.ts';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';
import { Activation } from './activation.ts';
import type { Member } from './device-state.ts';
import type { Ending } from './rollout-state.ts';
import type { PlannedMember } from './waves.ts';

export type RolloutStore = ReturnType<typeof createRolloutStore>;
export type MemberRow = Member & { deviceId: string };
export type HistoryEntry = RolloutDetail['history'][number];
type WaveRow = Omit<RolloutWave, 'startedAt' | 'endedAt'> & { at: number };

/** Read at once. */
const pageMembers = 500;

/** Of rollouts that are over. */
const endPhases: RolloutState['phase'][] = ['completed', 'cancelled', 'superseded', 'rolled_back'];

const Outcome = RolloutDevice.shape.state;
const Later = z.array(z.number().int());
const Evidence = z.object({ gates: z.array(GateVerdict), counts: DeviceCounts });

export function createRolloutStore(tables: Schema) {
  const { rollouts, rolloutDevices, rolloutHistory, rolloutWaves } = tables;
  const isMember = (rolloutId: string, deviceIds: string[]) =>
    and(eq(rolloutDevices.rolloutId, rolloutId), inArray(rolloutDevices.deviceId, deviceIds));

  async function membersWhere(reader: Reader, condition: SQL | undefined): Promise<MemberRow[]> {
    const rows = await reader
      .select()
      .from(rolloutDevices)
      .where(condition)
      .orderBy(asc(rolloutDevices.deviceId))
      .limit(pageMembers);
    return rows.map(({ previous: _previous, rolloutId: _rollout, attempt, outcome, later, activation, ...row }) => ({
      ...row,
      later: later === null ? [] : parse(Later, later, 'rollout_devices.later', 'internal'),
      attempt: attempt ?? 1,
      activation: activation === null ? null : parse(Activation, activation, 'rollout_devices.activation', 'internal'),
      outcome: outcome === null ? null : parse(Outcome, outcome, 'rollout_devices.outcome', 'internal'),
    }));
  }

  return {
    async rollout(reader: Reader, id: string): Promise<Rollout | undefined> {
      const [row] = await reader.select().from(rollouts).where(eq(rollouts.id, id));
      return row === undefined ? undefined : toRollout(row);
    },

    /** Newest first, beginning before `beforeId`. */
    async list(
      reader: Reader,
      query: { model?: string | undefined; phase?: string | undefined; beforeId?: string | undefined; limit: number },
    ): Promise<Rollout[]> {
      const conditions: SQL[] = [];
      if (query.model !== undefined) conditions.push(eq(rollouts.model, query.model));
      if (query.phase !== undefined) conditions.push(eq(rollouts.phase, query.phase));
      if (query.beforeId !== undefined) conditions.push(lt(rollouts.id, query.beforeId));
      const rows = await reader
        .select()
        .from(rollouts)
        .where(and(...conditions))
        .orderBy(desc(rollouts.id))
        .limit(query.limit);
      return rows.map(toRollout);
    },

    /** Oldest first. */
    async inPhases(reader: Reader, phases: RolloutState['phase'][]): Promise<Rollout[]> {
      const rows = await reader
        .select()
        .from(rollouts)
        .where(inArray(rollouts.phase, phases))
        .orderBy(asc(rollouts.id));
      return rows.map(toRollout);
    },

    async insert(
      tx: Transaction,
      { status: _status, plannedAt: _planned, traceparent, ...rollout }: Rollout,
    ): Promise<void> {
      const unseen = { plannedAt: null, tracedAt: null };
      await tx
        .insert(rollouts)
        .values({ ...rollout, ...unseen, traceparent: traceparent ?? null, phase: rollout.state.phase });
    },

    async setState(tx: Transaction, id: string, { state, at }: { state: RolloutState; at: number }): Promise<void> {
      await tx.update(rollouts).set({ state, phase: state.phase, updatedAt: at }).where(eq(rollouts.id, id));
    },

    /** Rollouts that are over and traced, whose spans were not sent yet. */
    async untraced(reader: Reader): Promise<Rollout[]> {
      const isOver = inArray(rollouts.phase, endPhases);
      const rows = await reader
        .select()
        .from(rollouts)
        .where(and(isOver, isNotNull(rollouts.traceparent), isNull(rollouts.tracedAt)))
        .orderBy(asc(rollouts.id));
      return rows.map(toRollout);
    },

    async traced(tx: Transaction, id: string, at: number): Promise<void> {
      await tx.update(rollouts).set({ tracedAt: at }).where(eq(rollouts.id, id));
    },

    /** Devices with their waves, in the order of waves. */
    async members(reader: Reader, rolloutId: string): Promise<MemberRow[]> {
      const { deviceId } = rolloutDevices;
      const rows = await readPages(pageMembers, (last?: { deviceId: string }) => {
        const after = last === undefined ? undefined : gt(deviceId, last.deviceId);
        const ofRollout = and(eq(rolloutDevices.rolloutId, rolloutId), after);
        return membersWhere(reader, ofRollout);
      });
      return rows.sort((a, b) => a.wave - b.wave || (a.rank ?? -1) - (b.rank ?? -1));
    },

    /** Stores waves that were decided; who has been told already keeps what is known of it. */
    async plan(
      tx: Transaction,
      rolloutId: string,
      { members, at }: { members: readonly PlannedMember[]; at: number },
    ): Promise<void> {
      const unseen = { rolloutId, online: false, connectionSince: at };
      await inChunks(members, async (part) => {
        await tx.delete(rolloutDevices).where(
          and(
            isMember(
              rolloutId,
              part.map(({ deviceId }) => deviceId),
            ),
            isNull(rolloutDevices.assignedAt),
          ),
        );
        await tx
          .insert(rolloutDevices)
          .values(part.map(({ later = null, ...each }) => ({ ...each, later, ...unseen })))
          .onConflictDoNothing();
      });
      await tx.update(rollouts).set({ plannedAt: at }).where(eq(rollouts.id, rolloutId));
    },

    /** That devices were told, all at the same instant. */
    async assign(
      tx: Transaction,
      rolloutId: string,
      told: { deviceIds: readonly string[]; wave: number; at: number },
    ): Promise<void> {
      const { deviceIds, wave, at } = told;
      const set = {
        ...{ wave, assignedAt: at, online: false, connectionSince: at },
        ...{ servingSince: null, attempt: null, outcome: null, detail: null, activation: null },
      };
      await inChunks(deviceIds, (part) =>
        tx
          .insert(rolloutDevices)
          .values(part.map((deviceId) => ({ rolloutId, deviceId, ...set })))
          .onConflictDoUpdate({ target: [rolloutDevices.rolloutId, rolloutDevices.deviceId], set }),
      );
    },

    /** That devices have tried the version in a wave that is over, and go on to their next. */
    async move(
      tx: Transaction,
      rolloutId: string,
      moved: { members: readonly Pick<MemberRow, 'deviceId' | 'later'>[]; at: number },
    ): Promise<void> {
      const alike = new Map<string, { later: readonly number[]; ids: string[] }>();
      for (const { deviceId, later = [] } of moved.members) {
        const group = alike.get(later.join()) ?? { later, ids: [] };
        group.ids.push(deviceId);
        alike.set(later.join(), group);
      }
      const fresh = {
        assignedAt: null,
        servingSince: null,
        attempt: null,
        activation: null,
        connectionSince: moved.at,
      };
      for (const { later: waves, ids } of alike.values()) {
        const [wave, ...later] = waves;
        if (wave === undefined) continue;
        const set = { wave, later: later.length === 0 ? null : later, ...fresh };
        await inChunks(ids, (part) => tx.update(rolloutDevices).set(set).where(isMember(rolloutId, part)));
      }
    },

    /** That devices were told once more; in the wave in which they were. */
    async retry(
      tx: Transaction,
      rolloutId: string,
      tried: { deviceIds: readonly string[]; attempt: number; at: number },
    ): Promise<void> {
      const { deviceIds, attempt, at } = tried;
      const set = {
        ...{ assignedAt: at, connectionSince: at, servingSince: null, attempt },
        ...{ outcome: null, detail: null, activation: null },
      };
      await inChunks(deviceIds, (part) => tx.update(rolloutDevices).set(set).where(isMember(rolloutId, part)));
    },

    /** The newest completed rollout of the model that has given its version to each device; absent: none has. */
    async newestCompleted(reader: Reader, model: string, deviceIds: readonly string[]): Promise<Map<string, string>> {
      const newest = new Map<string, string>();
      const completed = and(eq(rollouts.model, model), eq(rollouts.phase, 'completed'));
      await inChunks(deviceIds, async (part) => {
        const rows = await reader
          .select({ deviceId: rolloutDevices.deviceId, rolloutId: max(rolloutDevices.rolloutId) })
          .from(rolloutDevices)
          .innerJoin(rollouts, eq(rollouts.id, rolloutDevices.rolloutId))
          .where(and(completed, isNotNull(rolloutDevices.assignedAt), inArray(rolloutDevices.deviceId, part)))
          .groupBy(rolloutDevices.deviceId);
        for (const { deviceId, rolloutId } of rows) if (rolloutId !== null) newest.set(deviceId, rolloutId);
      });
      return newest;
    },

    /** Devices that go back to what they were given before stay as they were known; others become members. */
    async keepMembers(
      tx: Transaction,
      rolloutId: string,
      { deviceIds, wave, at }: { deviceIds: readonly string[]; wave: number; at: number },
    ): Promise<void> {
      const fresh = { rolloutId, wave, assignedAt: at, online: false, connectionSince: at };
      await inChunks(deviceIds, async (part) => {
        await tx
          .insert(rolloutDevices)
          .values(part.map((deviceId) => ({ ...fresh, deviceId })))
          .onConflictDoNothing();
        await tx
          .update(rolloutDevices)
          .set({ assignedAt: at })
          .where(and(isMember(rolloutId, part), isNull(rolloutDevices.assignedAt)));
      });
    },

    /** What was observed of devices. Those alike are written together. */
    async remember(
      tx: Transaction,
      rolloutId: string,
      observed: readonly { deviceId: string; member: Member }[],
    ): Promise<void> {
      const alike = new Map<string, { set: Partial<Member>; ids: string[] }>();
      for (const { deviceId, member } of observed) {
        const { online, connectionSince, servingSince, activation = null } = member;
        const key = `${online} ${connectionSince} ${servingSince} ${JSON.stringify(activation)}`;
        const group = alike.get(key) ?? { set: { online, connectionSince, servingSince, activation }, ids: [] };
        group.ids.push(deviceId);
        alike.set(key, group);
      }
      for (const { set, ids } of alike.values())
        await inChunks(ids, (part) => tx.update(rolloutDevices).set(set).where(isMember(rolloutId, part)));
    },

    /** How devices ended, for good. */
    async end(tx: Transaction, rolloutId: string, endings: readonly Ending[]): Promise<void> {
      const alike = new Map<string, { ending: Ending; ids: string[] }>();
      for (const ending of endings) {
        const key = `${ending.outcome} ${ending.detail}`;
        const group = alike.get(key) ?? { ending, ids: [] };
        group.ids.push(ending.deviceId);
        alike.set(key, group);
      }
      for (const { ending, ids } of alike.values())
        await inChunks(ids, (part) =>
          tx
            .update(rolloutDevices)
            .set({ outcome: ending.outcome, detail: ending.detail })
            .where(and(isMember(rolloutId, part), isNull(rolloutDevices.outcome))),
        );
    },

    /** How many devices ended how. */
    async outcomes(reader: Reader, rolloutIds: readonly string[]): Promise<Map<string, DeviceCounts>> {
      const sums = new Map<string, DeviceCounts>();
      if (rolloutIds.length === 0) return sums;
      const rows = await reader
        .select({ rolloutId: rolloutDevices.rolloutId, outcome: rolloutDevices.outcome, devices: count() })
        .from(rolloutDevices)
        .where(and(inArray(rolloutDevices.rolloutId, [...rolloutIds]), isNotNull(rolloutDevices.outcome)))
        .groupBy(rolloutDevices.rolloutId, rolloutDevices.outcome);
      for (const { rolloutId, outcome, devices } of rows) {
        const state = parse(Outcome, outcome, 'rollout_devices.outcome', 'internal');
        sums.set(rolloutId, { ...sums.get(rolloutId), [state]: devices });
      }
      return sums;
    },

    /** Some of those that did not end well, in their own words. */
    failures(reader: Reader, rolloutId: string, limit: number): Promise<{ deviceId: string; detail: string | null }[]> {
      const failed: RolloutDevice['state'][] = ['failed', 'timed_out'];
      return reader
        .select({ deviceId: rolloutDevices.deviceId, detail: rolloutDevices.detail })
        .from(rolloutDevices)
        .where(and(eq(rolloutDevices.rolloutId, rolloutId), inArray(rolloutDevices.outcome, failed)))
        .orderBy(rolloutDevices.deviceId)
        .limit(limit);
    },

    /** Of a rollout that is opened again to be taken back; what failed has failed. */
    async forgetEndings(tx: Transaction, rolloutId: string): Promise<void> {
      const failed: RolloutDevice['state'][] = ['failed', 'timed_out'];
      await tx
        .update(rolloutDevices)
        .set({ outcome: null, detail: null })
        .where(and(eq(rolloutDevices.rolloutId, rolloutId), notInArray(rolloutDevices.outcome, failed)));
    },

    /** Completed rollouts of a model, the newest first. */
    async completedOf(reader: Reader, model: string): Promise<Rollout[]> {
      const rows = await reader
        .select()
        .from(rollouts)
        .where(and(eq(rollouts.model, model), eq(rollouts.phase, 'completed')))
        .orderBy(desc(rollouts.id));
      return rows.map(toRollout);
    },

    /** Rollouts by whose word devices may run the version. */
    async givers(reader: Reader, model: string, version: number): Promise<Rollout[]> {
      const phases: RolloutState['phase'][] = ['running', 'awaiting_approval', 'paused', 'completed', 'cancelled'];
      const rows = await reader
        .select()
        .from(rollouts)
        .where(and(eq(rollouts.model, model), eq(rollouts.version, version), inArray(rollouts.phase, phases)));
      return rows.map(toRollout);
    },

    /** That the rollout ended while the wave was under way. */
    async stopWave(tx: Transaction, rolloutId: string, { wave, at }: { wave: number; at: number }): Promise<void> {
      const under = and(eq(rolloutWaves.rolloutId, rolloutId), eq(rolloutWaves.wave, wave));
      await tx
        .update(rolloutWaves)
        .set({ outcome: 'stopped', endedAt: at })
        .where(and(under, eq(rolloutWaves.outcome, 'running')));
    },

    /** Keeps what a wave came to; one that goes on after a pause is open again. */
    async keepWave(tx: Transaction, rolloutId: string, { at, ...wave }: WaveRow): Promise<void> {
      const set = { ...wave, endedAt: wave.outcome === 'running' ? null : at };
      await tx
        .insert(rolloutWaves)
        .values({ rolloutId, startedAt: at, ...set })
        .onConflictDoUpdate({ target: [rolloutWaves.rolloutId, rolloutWaves.wave], set });
    },

    /** Those that have begun, in order. */
    async waves(reader: Reader, rolloutId: string): Promise<RolloutWave[]> {
      const rows = await reader
        .select()
        .from(rolloutWaves)
        .where(eq(rolloutWaves.rolloutId, rolloutId))
        .orderBy(asc(rolloutWaves.wave));
      return rows.map(({ rolloutId: _rollout, ...row }) => parse(RolloutWave, row, 'rollout_waves', 'internal'));
    },

    async tell(
      tx: Transaction,
      rolloutId: string,
      entry: { at: number; text: string; evidence?: HistoryEntry['evidence'] },
    ): Promise<void> {
      await tx.insert(rolloutHistory).values({ id: uuid(), rolloutId, ...entry });
    },

    /** Oldest first. */
    async history(reader: Reader, rolloutId: string): Promise<HistoryEntry[]> {
      const { at, text, evidence } = rolloutHistory;
      const rows = await reader
        .select({ at, text, evidence })
        .from(rolloutHistory)
        .where(eq(rolloutHistory.rolloutId, rolloutId))
        .orderBy(asc(rolloutHistory.id));
      return rows.map((row) =>
        row.evidence === null
          ? { at: row.at, text: row.text }
          : { ...row, evidence: parse(Evidence, row.evidence, 'rollout_history.evidence', 'internal') },
      );
    },
  };
}

function toRollout(row: Schema['rollouts']['$inferSelect']): Rollout {
  const { phase: _phase, tracedAt: _traced, traceparent, ...rest } = row;
  return {
    ...rest,
    ...(traceparent !== null && { traceparent }),
    plan: parse(RolloutPlan, row.plan, `rollout ${row.id}: plan`, 'internal'),
    state: parse(RolloutState, row.state, `rollout ${row.id}: state`, 'internal'),
  };
}
