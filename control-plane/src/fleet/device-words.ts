// What devices say of themselves, stored together: all that comes in one turn of the event loop, or while a former group is being
// written, is one commit. A sender is answered once its words are stored.
import type { Presence, Reported } from '@edgeloop/shared/messages';
import type { Database, Transaction } from '../database/open.ts';
import { isStorageFailure } from '../database/storage-failure.ts';
import type { ClaimStore } from './claim-store.ts';
import { type VersionNumbers, versionKey } from './claims.ts';
import { isAhead } from './device-problems.ts';
import type { DeviceChange, FleetStore } from './fleet-store.ts';
import type { FleetView, ViewedDevice } from './fleet-view.ts';
import { spoken } from './instances.ts';
import { type NamedRelease, namedReleases, unknownAmong } from './unknown-releases.ts';

export interface WordsDeps {
  database: Database;
  store: FleetStore;
  claimStore: ClaimStore;
  numbers: VersionNumbers;
  view: FleetView;
  now: () => number;
}

type Word = { deviceId: string } & (
  | { kind: 'reported'; reported: Reported }
  | { kind: 'presence'; presence: Presence }
);

/** What became of a word. */
export interface Heard {
  /** False for a device that may not speak, and for a last will of a former session. */
  counts: boolean;
  /** As it was before the word. */
  former: ViewedDevice | undefined;
  device: ViewedDevice | undefined;
  /** What it runs unknown to the registry, when that is other than before. */
  unknown: NamedRelease[] | undefined;
  /** It can be told now what it was not told before. */
  tell: boolean;
}

interface Waiting {
  word: Word;
  resolve: (heard: Heard) => void;
  reject: (error: unknown) => void;
}

/** In one commit, which is written in one stretch. */
const mostWords = 100;

export function createDeviceWords(deps: WordsDeps) {
  const { database, view } = deps;
  const waiting: Waiting[] = [];
  let draining = false;

  async function drain(): Promise<void> {
    // What arrives in the same turn joins the first group.
    await new Promise((resolve) => setImmediate(resolve));
    while (waiting.length > 0) {
      await settle(waiting.splice(0, mostWords));
      // A commit keeps the event loop waiting; what it has kept comes first.
      await new Promise((resolve) => setImmediate(resolve));
    }
    draining = false;
  }

  /** One device whose words cannot be stored must not keep the others from being stored. */
  async function settle(group: readonly Waiting[]): Promise<void> {
    try {
      const heard = await commit(group.map(({ word }) => word));
      for (const [i, { resolve, reject }] of group.entries()) {
        const one = heard[i];
        if (one === undefined) reject(new Error('a word of a device was lost'));
        else resolve(one);
      }
    } catch (error) {
      if (group.length === 1 || isStorageFailure(error)) for (const { reject } of group) reject(error);
      else for (const one of group) await settle([one]);
    }
  }

  async function commit(words: readonly Word[]): Promise<Heard[]> {
    const devices = await view.all();
    const written = await database.transact((tx) => write(deps, tx, { words, devices }));
    const changes = [...written.changes].map(([id, change]) => ({ id, ...viewed(change) }));
    view.put(changes, 'spoke');
    return written.heard;
  }

  return {
    /** Resolves once it is stored. */
    say(word: Word): Promise<Heard> {
      return new Promise((resolve, reject) => {
        waiting.push({ word, resolve, reject });
        if (draining) return;
        draining = true;
        void drain();
      });
    },
  };
}

type Change = Omit<DeviceChange, 'reported' | 'status' | 'instances'> &
  Partial<Pick<ViewedDevice, 'reported' | 'status' | 'instances'>>;

interface Group {
  words: readonly Word[];
  devices: ReadonlyMap<string, ViewedDevice>;
}

async function write(deps: WordsDeps, tx: Transaction, { words, devices }: Group) {
  const { store, now } = deps;
  const at = now();
  const changes = new Map<string, Change>();
  const heard: Heard[] = [];
  for (const word of words) {
    const { deviceId } = word;
    const known = devices.get(deviceId);
    const device = known && { ...known, ...viewed(changes.get(deviceId) ?? {}) };
    const change =
      device && (word.kind === 'reported' ? reporting(device, word.reported, at) : arriving(device, word, at));
    if (device === undefined || change === undefined) {
      heard.push({ counts: false, former: device, device, unknown: undefined, tell: false });
      continue;
    }
    changes.set(deviceId, { ...changes.get(deviceId), ...change, lastSeenAt: at });
    const tell = change.publishedGeneration !== undefined;
    heard.push({ counts: true, former: device, device: { ...device, ...viewed(change) }, unknown: undefined, tell });
  }
  for (const [id, change] of changes) await store.update(tx, id, change);
  const unknown = await writeUnknown(deps, tx, changes);
  for (const [i, word] of words.entries()) {
    const one = heard[i];
    if (one?.counts === true && word.kind === 'reported') {
      one.unknown = unknown.get(word.deviceId);
      unknown.delete(word.deviceId);
    }
  }
  return { changes, heard };
}

/** Its first word of a generation that this server never gave marks it, until an operator has decided. */
function reporting(device: ViewedDevice, reported: Reported, at: number): Change {
  const spoken = { reported, facts: reported.facts, reportedAt: at };
  const { desiredGeneration, publishedGeneration } = device;
  if (device.conflictSince !== null) return spoken;
  if (isAhead(reported, publishedGeneration)) return { ...spoken, conflictSince: at };
  return publishedGeneration < desiredGeneration ? { ...spoken, publishedGeneration: desiredGeneration } : spoken;
}

function arriving(
  device: ViewedDevice,
  { presence }: Extract<Word, { kind: 'presence' }>,
  at: number,
): Change | undefined {
  const { status, session, instance } = presence;
  if (status === 'offline' || instance === undefined)
    return status === 'offline' && device.session !== session ? undefined : { status, session };
  return { status, session, instances: spoken(device.instances, instance, at) };
}

function viewed(change: Change) {
  const { status, session, lastSeenAt, reported, reportedAt, publishedGeneration, conflictSince, instances } = change;
  const all = { status, session, lastSeenAt, reported, reportedAt, publishedGeneration, conflictSince, instances };
  const set = Object.entries(all).filter(([, value]) => value !== undefined);
  return Object.fromEntries(set) as Partial<ViewedDevice>;
}

/** By device, where it changed. */
async function writeUnknown(
  { claimStore, numbers }: WordsDeps,
  tx: Transaction,
  changes: ReadonlyMap<string, Change>,
): Promise<Map<string, NamedRelease[]>> {
  const named = new Map<string, NamedRelease[]>();
  for (const [id, { reported }] of changes) if (reported) named.set(id, namedReleases(reported));
  const distinct = new Map([...named.values()].flat().map((each) => [versionKey(each), each]));
  const registered = await numbers.releases(tx, [...distinct.values()]);
  const strange = [...distinct.values()].filter((each) => !registered.has(versionKey(each)));
  if (strange.length > 0) await numbers.reserve(tx, strange);
  const unknown = new Map(
    [...named].map(([id, all]) => [id, unknownAmong(all, (each) => registered.get(versionKey(each)))]),
  );
  const changed = await claimStore.replaceUnknown(tx, unknown);
  return new Map(changed.map((id) => [id, unknown.get(id) ?? []]));
}
