// Hands gates what the field says of a rollout: what is stored is read once, what comes in afterwards is added.
import type { FieldEvidence, FieldQuery } from '../gates/evidence.ts';
import type { FieldStore } from './field-store.ts';
import { FieldTally, type Seen, startOf, variantsOf } from './field-tally.ts';
import { readLastPeriod } from './last-period.ts';
import { itemKey } from './number-store.ts';
import type { Stored } from './telemetry-store.ts';
import type { WindowRow } from './window-row.ts';

interface FieldEvidenceDeps {
  fieldStore: FieldStore;
  now: () => number;
}

/** One rollout that is judged. */
interface Watched {
  model: string;
  /** Undefined until what is stored has been read. */
  tally: FieldTally | undefined;
  waiting: WindowRow[];
  labelsChanged: boolean;
  /** Reading labels takes time: the next reading waits a multiple of it. */
  labelsNotBefore: number;
  evidence: FieldEvidence | undefined;
  /** What the evidence was made for. */
  asked: FieldQuery | undefined;
  reading: Promise<FieldEvidence | undefined>;
  /** By this server's clock. */
  watchedSince: number;
  lastAskedMs: number;
}

/** Windows may have begun so long before their device was given the version. */
const spanMs = 600_000;
/** Who has not asked for so long asks no more, and is read anew if it does. */
const forgottenMs = 600_000;
const mostWaiting = 50_000;
const labelRest = 20;
/** Windows that are read at first, newest first: so many tell enough, and reading them has an end. */
const mostWindows = 200_000;
const pageWindows = 1000;
const clockSlackMs = 60_000;

export function createFieldEvidence({ fieldStore, now }: FieldEvidenceDeps) {
  const watched = new Map<string, Watched>();

  return {
    /** The same object as before when nothing has come in since; undefined before any device was given the version. */
    async evidence(query: FieldQuery): Promise<FieldEvidence | undefined> {
      if (query.members.length === 0) return undefined;
      forget();
      const known = watched.get(keyOf(query)) ?? watch(query);
      known.lastAskedMs = performance.now();
      // One reading after the other: each takes what has come in meanwhile.
      const reading = known.reading.catch(() => undefined).then(() => read(known, query));
      known.reading = reading;
      return reading;
    },

    /** There are labels of the model that came another way. */
    onLabelled(model: string): void {
      for (const each of watched.values()) each.labelsChanged ||= each.model === model;
    },

    onStored({ windows, labels }: Stored): void {
      if (watched.size === 0) return;
      for (const each of watched.values()) {
        for (const row of windows) if (row.head.model === each.model) each.waiting.push(row);
        each.labelsChanged ||= labels.some(({ model }) => model === each.model);
      }
    },
  };

  function watch(query: FieldQuery): Watched {
    const { model } = query;
    const fresh: Watched = {
      ...{ model, tally: undefined, waiting: [], labelsChanged: true, labelsNotBefore: 0, evidence: undefined },
      ...{ asked: undefined, reading: Promise.resolve(undefined), lastAskedMs: 0, watchedSince: now() },
    };
    watched.set(keyOf(query), fresh);
    return fresh;
  }

  async function read(known: Watched, query: FieldQuery): Promise<FieldEvidence> {
    const tally = known.tally ?? (await load(known, query));
    known.tally = tally;
    const entered = tally.enter(query);
    const fresh = known.waiting.splice(0);
    tally.add(fresh, query);
    const labelled = entered || (known.labelsChanged && performance.now() >= known.labelsNotBefore);
    if (labelled) await readLabels(known, query, tally);
    if (known.evidence !== undefined && fresh.length === 0 && !labelled && isSame(known.asked, query))
      return known.evidence;
    known.asked = query;
    known.evidence = tally.evidence(query);
    return known.evidence;
  }

  async function load(known: Watched, query: FieldQuery): Promise<FieldTally> {
    const { model, version, matching, quantile, patienceMs } = query;
    const startedAt = startOf(query.members);
    const period = await readLastPeriod(fieldStore, { model, version, matching, startedAt, quantile, patienceMs });
    const tally = new FieldTally(query, period);
    const recent = new Set<string>();
    const page: Seen[] = [];
    let count = 0;
    for await (const row of fieldStore.newest({ model, from: startedAt - spanMs, to: Number.MAX_SAFE_INTEGER })) {
      if (row.receivedAt >= known.watchedSince - clockSlackMs) recent.add(itemKey(row));
      page.push(row);
      if (page.length === pageWindows) tally.add(page.splice(0), query);
      if (++count === mostWindows) break;
    }
    tally.add(page, query);
    // What came in while it was read may have been read, too.
    known.waiting = known.waiting.filter((row) => !recent.has(itemKey(row)));
    return tally;
  }

  async function readLabels(
    known: Watched,
    { model, version, patienceMs }: FieldQuery,
    tally: FieldTally,
  ): Promise<void> {
    known.labelsChanged = false;
    const waveFrom = tally.waveStartedAt();
    const began = performance.now();
    tally.setLabels(await fieldStore.labelSums({ model, version, from: tally.startedAt, waveFrom, patienceMs }));
    const ended = performance.now();
    known.labelsNotBefore = ended + labelRest * (ended - began);
  }

  function forget(): void {
    const at = performance.now();
    for (const [id, each] of watched) {
      const silent = each.lastAskedMs > 0 && at - each.lastAskedMs > forgottenMs;
      if (silent || each.waiting.length > mostWaiting) watched.delete(id);
    }
  }
}

/** What devices answered while they tried the version counts for their trial alone. */
function keyOf({ rolloutId, wave, trial }: FieldQuery): string {
  return trial === true ? `${rolloutId} wave ${wave}` : rolloutId;
}

function isSame(before: FieldQuery | undefined, now: FieldQuery): boolean {
  if (before?.wave !== now.wave || before.restRuns !== now.restRuns) return false;
  return before.members.length === now.members.length && variantsOf(before).join() === variantsOf(now).join();
}
