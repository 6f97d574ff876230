// Which model file ends the serving process: deaths are laid to what ran at that moment and counted on disk by the
// file's SHA-256. With the second one the file is quarantined until somebody says another word for it.
import { eq } from 'drizzle-orm';
import type { DeviceDatabase } from '../../database/open.ts';
import { deaths } from '../../database/schema.ts';
import type { PendingWrites } from '../../storage/pending-writes.ts';
import type { Failure } from '../failure.ts';

/** A loaded version that ran when the serving process died. */
export interface Accused {
  name: string;
  version: number;
  digest: string;
  /** On whose word it is here; the rollout in a fleet, empty in a folder. */
  word: string;
  /** Requests that it answered so far. */
  succeeded: number;
}

interface Quarantined {
  name: string;
  version: number;
  digest: string;
  error: Failure;
}

export interface Quarantine {
  /** Counts one death; what it quarantines is one of `accused`, or nothing yet. */
  blame(accused: readonly Accused[], detail: string): Quarantined | undefined;
  /** Whether the process died not long ago while it ran, and nothing else explains that. */
  isSuspected(digest: string): boolean;
  /** Why the file is not to be loaded on this word; undefined when it may be. */
  reasonFor(digest: string, word: string): Failure | undefined;
}

interface Charge {
  accused: Accused;
  /** With this one. */
  deaths: number;
}

const deathsAllowed = 1;
/** Deaths further apart say little: a hardware fault or a shortage is as likely. */
const forgottenAfterMs = 24 * 3_600_000;

/**
 * Whom to quarantine. Several models may run at a death, so being there twice is needed, and of several who were, the
 * one with the fewest answers is taken: a model that ends its process seldom comes to answer.
 */
function guiltyOf(charges: readonly Charge[]): Accused | undefined {
  const suspected = charges.filter(({ deaths }) => deaths > deathsAllowed);
  const most = Math.max(...suspected.map(({ deaths }) => deaths));
  return suspected
    .filter(({ deaths }) => deaths === most)
    .map(({ accused }) => accused)
    .sort((a, b) => a.succeeded - b.succeeded)[0];
}

type Row = typeof deaths.$inferSelect;

export function createQuarantine(database: DeviceDatabase, writes: PendingWrites, now: () => number): Quarantine {
  /** What was charged in this life; it may not be on disk yet. */
  const charged = new Map<string, Row>();
  const rowOf = (digest: string): Row | undefined =>
    charged.get(digest) ?? database.select().from(deaths).where(eq(deaths.digest, digest)).get();

  function keep(row: Row): void {
    const { digest, ...set } = row;
    charged.set(digest, row);
    writes.write(`death ${digest}`, () => {
      database.insert(deaths).values(row).onConflictDoUpdate({ target: deaths.digest, set }).run();
    });
  }

  function change(digest: string, set: Partial<Row>): void {
    const row = rowOf(digest);
    if (row !== undefined) keep({ ...row, ...set });
  }

  function charge(accused: Accused, detail: string): Charge {
    const { digest, word, name, version } = accused;
    const known = rowOf(digest);
    const counts = known !== undefined && known.word === word && now() - known.at < forgottenAfterMs;
    const count = counts ? known.count + 1 : 1;
    keep({ digest, word, name, version, count, at: now(), detail, quarantined: false });
    return { accused, deaths: count };
  }

  return {
    blame(accused, detail) {
      const charges = accused.map((each) => charge(each, detail));
      const guilty = guiltyOf(charges);
      if (guilty === undefined) return undefined;
      change(guilty.digest, { quarantined: true });
      // Those who were only there are cleared: this death has its explanation.
      for (const other of accused) if (other.digest !== guilty.digest) change(other.digest, { count: 0 });
      const { name, version, digest } = guilty;
      return { name, version, digest, error: quarantinedFor(deathsAllowed + 1, detail) };
    },
    isSuspected(digest) {
      const row = rowOf(digest);
      return row !== undefined && row.count > 0 && now() - row.at < forgottenAfterMs;
    },
    reasonFor(digest, word) {
      const row = rowOf(digest);
      if (row === undefined || !row.quarantined || row.word !== word) return undefined;
      return quarantinedFor(row.count, row.detail);
    },
  };
}

function quarantinedFor(count: number, detail: string): Failure {
  return {
    code: 'model_rejected',
    message: `quarantined: the serving process died ${count} times while it ran; the last time ${detail}`,
  };
}
