// Models that go from hosts to a fresh one: since theirs has grown, has died, is held up by a run, or is one too many. A fresh
// host takes over all at once when it has loaded them; the old one finishes what it has.
import { existsSync } from 'node:fs';
import { AppError } from '@edgeloop/shared/app-error';
import { type Host, isLarge, openOn, type PlacedModel, type Role, setHosts } from './host.ts';
import type { HostPool } from './host-pool.ts';
import { isLate } from './lane.ts';

export interface MovesOptions {
  pool: HostPool;
  /** Whether it is to be served still. */
  isPlaced(entry: PlacedModel): boolean;
  /** Takes the model from the host. */
  leave(host: Host, entry: PlacedModel): Promise<void>;
  /** Nothing took these over. */
  crashed(entries: readonly PlacedModel[], error: unknown): void;
  /** A host has room. */
  onEnded(): void;
}

export interface Moves {
  /**
   * A fresh host takes over these models, all at once when it has loaded them. What it cannot load stays where it was, and has
   * no host when that one died. Hosts that hold nothing any more are ended.
   */
  takeOver(from: readonly Host[], entries: readonly PlacedModel[], role: Role): Promise<void>;
  /** A fresh host takes over all models of one that has grown. */
  renew(old: Host): Promise<void>;
  /** Each thread costs memory, so that many models that load or run long share some, to nobody else's delay. */
  mergeOwn(): Promise<void>;
}

/** Threads that belong to small models; beyond, two share one. */
const ownAtMost = 8;

export function createMoves({ pool, isPlaced, leave, crashed, onEnded }: MovesOptions): Moves {
  const takeOver = async (from: readonly Host[], entries: readonly PlacedModel[], role: Role): Promise<void> => {
    const isThere = (entry: PlacedModel) => isPlaced(entry) && entry.hosts.some((host) => from.includes(host));
    const fresh = pool.fresh(from[0]?.isolation ?? 'shared');
    for (const entry of new Set(entries)) {
      // Loaded before, so this is a passing lack of memory, a file that is gone, or another death.
      if (isThere(entry))
        await openOn(fresh, entry).catch((error: unknown) => crashed([entry], goneFile(entry) ?? error));
    }
    const holds = pool.has(fresh) ? [...fresh.models.values()] : [];
    fresh.role = role;
    for (const entry of holds) {
      if (isThere(entry)) move(entry, from, fresh);
      else void leave(fresh, entry);
    }
    for (const old of from) {
      old.thread.takeBack();
      if (!pool.has(old)) abandon(old, entries);
      else if (old.models.size === 0) void pool.retire(old);
    }
    if (holds.length === 0) void pool.retire(fresh);
    onEnded();
  };

  const mergeOwn = async (): Promise<void> => {
    const own = pool
      .all()
      .filter((host) => {
        const { role, isolation, models } = host;
        return role === 'own' && isolation === 'shared' && !isLate(host) && ![...models.values()].some(isLarge);
      })
      .sort((a, b) => a.models.size - b.models.size);
    const [one, other] = own;
    if (own.length <= ownAtMost || !one || !other) return;
    await takeOver([one, other], [...one.models.values(), ...other.models.values()], 'own');
    // Not in a loop: what cannot be moved stays, and would be moved again and again.
    if (!pool.has(one) && !pool.has(other)) await mergeOwn();
  };

  return {
    takeOver,
    mergeOwn,
    async renew(old) {
      if (!pool.has(old) || isLate(old) || old.models.size === 0) return;
      old.gone = { models: 0, bytes: 0 };
      await takeOver([old], [...old.models.values()], old.role);
    },
  };
}

function move(entry: PlacedModel, from: readonly Host[], fresh: Host): void {
  const left = entry.hosts.filter((host) => from.includes(host));
  setHosts(entry, [...new Set(entry.hosts.map((host) => (from.includes(host) ? fresh : host)))]);
  for (const host of left) if (host.models.delete(entry.model.id)) void host.thread.close(entry.model.id);
}

/** It died, and nothing took over what is left of it. */
function abandon(dead: Host, entries: readonly PlacedModel[]): void {
  for (const entry of entries)
    if (entry.hosts.includes(dead))
      setHosts(
        entry,
        entry.hosts.filter((host) => host !== dead),
      );
}

/** That a file was removed since it was loaded is not its model's doing. */
function goneFile({ model }: PlacedModel): AppError | undefined {
  return existsSync(model.path) ? undefined : new AppError('unavailable', `its file ${model.path} is gone`);
}
