// All SQL of rollouts.
import { type Rollout, RolloutPlan, RolloutState } from '@edgeloop/shared/api/rollouts';
import { parse } from '@edgeloop/shared/errors';
import { and, asc, desc, eq, inArray, lt, max, type SQL } from 'drizzle-orm';
import { v7 as uuid } from 'uuid';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';
import type { Member } from './device-state.ts';

export type RolloutStore = ReturnType<typeof createRolloutStore>;
export type MemberRow = Member & { deviceId: string };

/** Ids in one `in (…)`; both engines bound the number of parameters. */
const chunk = 500;

export function createRolloutStore(tables: Schema) {
  const { rollouts, rolloutDevices, rolloutHistory } = tables;
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

    async insert(tx: Transaction, rollout: Rollout): Promise<void> {
      await tx.insert(rollouts).values({ ...rollout, phase: rollout.state.phase, plannedAt: null });
    },

    async setState(tx: Transaction, id: string, { state, at }: { state: RolloutState; at: number }): Promise<void> {
      await tx.update(rollouts).set({ state, phase: state.phase, updatedAt: at }).where(eq(rollouts.id, id));
    },

    /** Devices that were given the version, sorted by id. */
    async members(reader: Reader, rolloutId: string): Promise<MemberRow[]> {
      const rows = await reader
        .select()
        .from(rolloutDevices)
        .where(eq(rolloutDevices.rolloutId, rolloutId))
        .orderBy(asc(rolloutDevices.deviceId));
      return rows.flatMap(({ assignedAt, previous: _previous, rolloutId: _rollout, ...row }) =>
        assignedAt === null ? [] : [{ ...row, assignedAt }],
      );
    },

    async insertMember(tx: Transaction, rolloutId: string, member: MemberRow): Promise<void> {
      const { deviceId: _device, ...set } = member;
      await tx
        .insert(rolloutDevices)
        .values({ rolloutId, ...member })
        .onConflictDoUpdate({ target: [rolloutDevices.rolloutId, rolloutDevices.deviceId], set });
    },

    /** The newest completed rollout of the model that has given its version to each device; absent: none has. */
    async newestCompleted(reader: Reader, model: string, deviceIds: readonly string[]): Promise<Map<string, string>> {
      const newest = new Map<string, string>();
      const completed = and(eq(rollouts.model, model), eq(rollouts.phase, 'completed'));
      for (let i = 0; i < deviceIds.length; i += chunk) {
        const rows = await reader
          .select({ deviceId: rolloutDevices.deviceId, rolloutId: max(rolloutDevices.rolloutId) })
          .from(rolloutDevices)
          .innerJoin(rollouts, eq(rollouts.id, rolloutDevices.rolloutId))
          .where(and(completed, inArray(rolloutDevices.deviceId, deviceIds.slice(i, i + chunk))))
          .groupBy(rolloutDevices.deviceId);
        for (const { deviceId, rolloutId } of rows) if (rolloutId !== null) newest.set(deviceId, rolloutId);
      }
      return newest;
    },

    /** A device that goes back to what it was given before stays as it was known; another becomes a member. */
    async keepMember(tx: Transaction, rolloutId: string, member: MemberRow): Promise<void> {
      await tx
        .insert(rolloutDevices)
        .values({ rolloutId, ...member })
        .onConflictDoNothing();
    },

    async remember(tx: Transaction, rolloutId: string, deviceId: string, member: Member): Promise<void> {
      const { online, connectionSince, servingSince } = member;
      await tx
        .update(rolloutDevices)
        .set({ online, connectionSince, servingSince })
        .where(and(eq(rolloutDevices.rolloutId, rolloutId), eq(rolloutDevices.deviceId, deviceId)));
    },

    async tell(tx: Transaction, rolloutId: string, entry: { at: number; text: string }): Promise<void> {
      await tx.insert(rolloutHistory).values({ id: uuid(), rolloutId, ...entry });
    },

    /** Oldest first. */
    async history(reader: Reader, rolloutId: string): Promise<{ at: number; text: string }[]> {
      return reader
        .select({ at: rolloutHistory.at, text: rolloutHistory.text })
        .from(rolloutHistory)
        .where(eq(rolloutHistory.rolloutId, rolloutId))
        .orderBy(asc(rolloutHistory.id));
    },
  };
}

function toRollout(row: Schema['rollouts']['$inferSelect']): Rollout {
  const { phase: _phase, ...rest } = row;
  return {
    ...rest,
    plan: parse(RolloutPlan, row.plan, `rollout ${row.id}: plan`, 'internal'),
    state: parse(RolloutState, row.state, `rollout ${row.id}: state`, 'internal'),
  };
}
