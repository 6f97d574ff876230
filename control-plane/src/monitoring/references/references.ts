// What drift of a version is judged against: the profile in its manifest, or else a first period in the field that is frozen once
// it is long enough, or what somebody has accepted as the new normal since.
import type { ReferenceInfo } from '@edgeloop/shared/api/monitoring';
import { AppError } from '@edgeloop/shared/errors';
import type { ReferenceProfile } from '@edgeloop/shared/profile';
import { v7 as uuid } from 'uuid';
import type { Database, Transaction } from '../../database/open.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { Observed } from '../statistics/drift.ts';
import { type Edges, profileOfField } from './field-profile.ts';
import type { FrozenReference, ReferenceStore } from './reference-store.ts';

export interface ReferencesDeps {
  database: Pick<Database, 'transact'>;
  store: ReferenceStore;
  telemetry: Pick<Telemetry, 'activity' | 'merged' | 'labelsBetween'>;
  /** The profile in the manifest of a registered version; undefined when there is none or no such version. */
  manifest: (model: string, version: number) => Promise<ReferenceProfile | undefined>;
  now: () => number;
}

/** A period long enough for a reference: so many windows with so many requests each, and rows in all of them. */
export const firstPeriod = { windows: 24, requestsEach: 30, samples: 2400 } as const;
/** How far back a first period is looked for, in windows. */
const lookback = 240;
/** Stretches that an accepted period is cut into, whatever the length of a window: blocks tell its own movement. */
const stretches = { fewest: 16, most: 240 } as const;
/** Labels of the first period from which on its accuracy is what is expected. */
const fewestLabels = 50;
const kept = 32;

interface Subject {
  model: string;
  version: number;
}
export interface Collected {
  windows: number;
  samples: number;
}

export type References = ReturnType<typeof createReferences>;

export function createReferences({ database, store, telemetry, manifest, now }: ReferencesDeps) {
  /** Frozen ones never change. */
  const known = new Map<string, FrozenReference>();
  return { of, frozen, info, collect, freezeFirst, accept };

  /** Undefined while there is none. */
  async function of(model: string, version: number): Promise<ReferenceProfile | undefined> {
    const own = await manifest(model, version);
    const later = await frozen(model, version);
    // What accuracy was measured on, and how sure the model was there, stay those of the model.
    return later === undefined ? own : { ...accuracyOf(own), ...later.profile };
  }

  async function frozen(model: string, version: number): Promise<FrozenReference | undefined> {
    const id = await store.newestId(model, version);
    if (id === undefined) return undefined;
    const found = known.get(id) ?? (await store.reference(id));
    if (found === undefined) return undefined;
    known.delete(id);
    known.set(id, found);
    const [oldest] = known.keys();
    if (known.size > kept && oldest !== undefined) known.delete(oldest);
    return found;
  }

  async function info(model: string, version: number): Promise<ReferenceInfo | null> {
    const later = await frozen(model, version);
    if (later !== undefined) {
      const { source, profile, fromAt, toAt, frozenAt, frozenBy, why } = later;
      return { source, ...sizeOf(profile), from: fromAt, to: toAt, frozenAt, by: frozenBy, why };
    }
    const own = await manifest(model, version);
    if (own === undefined) return null;
    return { source: 'manifest', ...sizeOf(own), from: null, to: null, frozenAt: null, by: null, why: null };
  }

  /** How far a first period has come. */
  async function collect(subject: Subject, windowSeconds: number): Promise<Collected & { starts: number[] }> {
    const stepMs = windowSeconds * 1000;
    const to = now() - (now() % stepMs);
    const steps = await telemetry.activity({
      model: subject.model,
      from: Math.max(0, to - lookback * stepMs),
      to,
      stepMs,
    });
    const useful = steps
      .filter(({ version, requests }) => version === subject.version && requests >= firstPeriod.requestsEach)
      .sort((a, b) => a.at - b.at);
    let samples = 0;
    let windows = 0;
    for (const { requests } of useful) {
      if (windows >= firstPeriod.windows && samples >= firstPeriod.samples) break;
      samples += requests;
      windows += 1;
    }
    return { windows, samples, starts: useful.slice(0, windows).map(({ at }) => at) };
  }

  /** Freezes a first period when it is long enough; otherwise says how far it has come. */
  async function freezeFirst(subject: Subject, windowSeconds: number): Promise<ReferenceProfile | Collected> {
    const { windows, samples, starts } = await collect(subject, windowSeconds);
    const short = windows < firstPeriod.windows || samples < firstPeriod.samples;
    const [from, last] = [starts[0], starts.at(-1)];
    if (short || from === undefined || last === undefined) return { windows, samples };
    const length = windowSeconds * 1000;
    const profile = profileOfField(await read(subject, starts, length), await edgesOf(subject));
    if (profile === undefined) return { windows, samples };
    const { labels, correct } = await telemetry.labelsBetween({ ...subject, from, to: last + length });
    const accuracy = labels < fewestLabels ? {} : { accuracy: correct / labels, accuracyRows: labels };
    const reference = entry(subject, {
      ...{ source: 'field', profile: { ...profile, ...accuracy }, fromAt: from, toAt: last + length },
      ...{ frozenBy: 'system', why: 'the first period of this version in the field', alertId: null },
    });
    // Another judgement may have been quicker.
    await database.transact(async (tx) => {
      if ((await store.newestId(subject.model, subject.version, tx)) === undefined) await store.insert(tx, reference);
    });
    return (await of(subject.model, subject.version)) ?? reference.profile;
  }

  /**
   * What came in since `from` is the reference from now on; `insert` in the transaction that says so.
   * @throws AppError `conflict` when too little came in
   */
  async function accept(
    subject: Subject,
    {
      from,
      minSamples,
      by,
      why,
      alertId,
    }: { from: number; minSamples: number; by: string; why: string; alertId: string },
  ): Promise<{ reference: FrozenReference; insert: (tx: Transaction) => Promise<void> }> {
    const to = now();
    const length = Math.max(1000, Math.ceil((to - from) / stretches.fewest / 1000) * 1000);
    const starts = Array.from(
      { length: Math.min(stretches.most, Math.ceil((to - from) / length)) },
      (_, i) => from + i * length,
    );
    const profile = profileOfField(await read(subject, starts, length), await edgesOf(subject));
    if (profile === undefined || profile.rows < minSamples)
      throw new AppError(
        'conflict',
        `only ${profile?.rows ?? 0} samples came in since the alert began, ${minSamples} are needed for a new reference; accept it later`,
      );
    const reference = entry(subject, {
      source: 'accepted',
      profile,
      fromAt: from,
      toAt: to,
      frozenBy: by,
      why,
      alertId,
    });
    return { reference, insert: (tx) => store.insert(tx, reference) };
  }

  function entry(
    subject: Subject,
    rest: Omit<FrozenReference, 'id' | 'model' | 'version' | 'frozenAt'>,
  ): FrozenReference {
    return { id: uuid(), ...subject, frozenAt: now(), ...rest };
  }

  async function read(subject: Subject, starts: readonly number[], length: number): Promise<Observed[]> {
    const windows: Observed[] = [];
    for (const from of starts) {
      const merged = await telemetry.merged({ ...subject, from, to: from + length });
      if (merged !== undefined) windows.push(merged.window);
    }
    return windows;
  }

  /** Devices count into the bins of the manifest. */
  async function edgesOf({ model, version }: Subject): Promise<Edges> {
    const own = await manifest(model, version);
    const features = Object.entries(own?.features ?? {}).map(([name, { edges }]) => [name, edges] as const);
    return { features: Object.fromEntries(features), confidence: own?.confidence?.edges };
  }
}

function accuracyOf(profile: ReferenceProfile | undefined): Partial<ReferenceProfile> {
  if (profile?.accuracy === undefined) return {};
  return { accuracy: profile.accuracy, accuracyRows: profile.accuracyRows ?? profile.rows };
}

function sizeOf(profile: ReferenceProfile): { rows: number; signals: number } {
  const { rows, features, confidence, classes, signals = {}, categories = {} } = profile;
  const outputs = [confidence, classes].filter((part) => part !== undefined).length;
  const named = [features, signals, categories].reduce((sum, each) => sum + Object.keys(each).length, 0);
  return { rows, signals: named + outputs };
}
