// What devices say of model versions, in telemetry and samples, is believed when they run what this server told them to run.
// Everything else is kept apart, and counted, so that the operator can see it.
import type { Logger } from 'pino';
import { afterCommit, type Reader, type Transaction } from '../database/open.ts';
import type { ClaimStore } from './claim-store.ts';

/** A model version that a device speaks of. */
export interface NamedVersion {
  model: string;
  version: number;
}
export interface Claim extends NamedVersion {
  deviceId: string;
  /** Which bytes it has under the number; undefined when it does not say. */
  release?: string | undefined;
}

/**
 * `unknown_release`: the registry has other bytes, or none, under this number. `never_assigned`: it was never told to run
 * the version.
 */
export type Verdict = 'counted' | 'unknown_release' | 'never_assigned';

/** A number of things that a device sent and that count nowhere. */
export interface Disregarded extends NamedVersion {
  deviceId: string;
  what: 'requests' | 'labels' | 'samples';
  reason: string;
  /** '' when it was not said. */
  release: string;
  count: number;
}

/** The registry's word on versions. */
export interface VersionNumbers {
  /** Releases of those that are registered, by `model version`. */
  releases: (reader: Reader, named: readonly NamedVersion[]) => Promise<ReadonlyMap<string, string>>;
  /** Signatures of those that are registered with these bytes, by `model version release`. */
  signatures: (
    reader: Reader,
    named: readonly (NamedVersion & { release: string })[],
  ) => Promise<ReadonlyMap<string, string>>;
  /** Sees to it that the numbers are not given to something else. */
  reserve: (tx: Transaction, named: readonly NamedVersion[]) => Promise<void>;
}

export interface ClaimsDeps {
  store: ClaimStore;
  numbers: VersionNumbers;
  now: () => number;
  log: Logger;
}

export type Claims = ReturnType<typeof createClaims>;

/** Devices are told of a version once and for all, so that this is never unlearned. */
const mostKnown = 100_000;

export function createClaims({ store, numbers, now, log }: ClaimsDeps) {
  /** Claims of versions that the device was told to run, of those that were asked for last. */
  const known = new Set<string>();

  async function assignedAmong(tx: Transaction, claims: readonly Claim[]): Promise<(key: string) => boolean> {
    const others = claims.filter((claim) => !known.has(claimKey(claim)));
    if (others.length === 0) return (key) => known.has(key);
    const read = await store.assignedAmong(tx, others);
    // What this transaction itself wrote may yet be undone.
    afterCommit(tx, () => {
      for (const key of read) known.add(key);
      for (const key of known) {
        if (known.size <= mostKnown) break;
        known.delete(key);
      }
    });
    const before = new Set(claims.map(claimKey).filter((key) => known.has(key)));
    return (key) => read.has(key) || before.has(key);
  }

  return {
    /** Judges claims by the state of the transaction; numbers that nobody has registered are reserved. */
    async judge(tx: Transaction, claims: readonly Claim[]): Promise<(claim: Claim) => Verdict> {
      const distinct = [...new Map(claims.map((claim) => [claimKey(claim), claim])).values()];
      const versions = [...new Map(distinct.map((claim) => [versionKey(claim), claim])).values()];
      const registered = await numbers.releases(tx, versions);
      const strange = distinct.filter((claim) => !registered.has(versionKey(claim)));
      if (strange.length > 0) await numbers.reserve(tx, strange);
      const isAssigned = await assignedAmong(tx, distinct);
      return (claim) => {
        const known = registered.get(versionKey(claim));
        if (known === undefined || (claim.release !== undefined && claim.release !== known)) return 'unknown_release';
        return isAssigned(claimKey(claim)) ? 'counted' : 'never_assigned';
      };
    },

    /** Adds to what is shown with the devices. */
    async disregard(tx: Transaction, entries: readonly Disregarded[]): Promise<void> {
      for (const entry of await store.addDisregarded(tx, entries, now()))
        log.warn({ ...entry }, 'a device sent what counts nowhere');
    },
  };
}

export function versionKey({ model, version }: NamedVersion): string {
  return `${model} ${version}`;
}

export function claimKey({ deviceId, model, version }: NamedVersion & { deviceId: string }): string {
  return `${deviceId} ${model} ${version}`;
}
