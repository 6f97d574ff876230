// Which release stands behind a version's number, and which numbers are taken though nothing is registered under them: after
// a backup was restored, devices run versions that this registry has never heard of.
import type { Sha256 } from '@edgeloop/shared/identifiers';
import { and, inArray, max } from 'drizzle-orm';
import type { Reader, Transaction } from '../database/open.ts';
import type { Schema } from '../database/schema.ts';

/** A version that somebody outside names, as a device does in reports and telemetry. */
export interface NamedVersion {
  model: string;
  version: number;
}

export type VersionNumbers = ReturnType<typeof createVersionNumbers>;

/** A device that names a number far beyond what is registered must not use the numbers up. */
const believedAhead = 10_000;
/** Devices can invent names of models without end. */
const maxMarks = 10_000;
/** Names in one statement. */
const chunk = 500;

export function createVersionNumbers({ modelVersions, versionMarks }: Schema) {
  /** The highest registered number of each; models without versions are absent. */
  async function latestOf(reader: Reader, models: readonly string[]): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    for (const part of chunksOf(models)) {
      const rows = await reader
        .select({ model: modelVersions.model, version: max(modelVersions.version) })
        .from(modelVersions)
        .where(inArray(modelVersions.model, part))
        .groupBy(modelVersions.model);
      for (const { model, version } of rows) found.set(model, Number(version));
    }
    return found;
  }

  async function marksOf(reader: Reader, models: readonly string[]): Promise<Map<string, number>> {
    const found = new Map<string, number>();
    for (const part of chunksOf(models)) {
      const rows = await reader.select().from(versionMarks).where(inArray(versionMarks.model, part));
      for (const { model, highest } of rows) found.set(model, highest);
    }
    return found;
  }

  async function latest(reader: Reader, model: string): Promise<number> {
    return (await latestOf(reader, [model])).get(model) ?? 0;
  }

  return {
    /** The highest registered number; 0 when there is none. */
    latest,

    /** What the next version of the model is called: above all that are registered or reserved. */
    async next(reader: Reader, model: string): Promise<number> {
      const mark = (await marksOf(reader, [model])).get(model) ?? 0;
      return Math.max(await latest(reader, model), mark) + 1;
    },

    /** The releases of those that are registered, by `versionKey`. */
    async releases(reader: Reader, named: readonly NamedVersion[]): Promise<Map<string, Sha256>> {
      const found = new Map<string, Sha256>();
      for (const part of chunksOf(named)) {
        const models = [...new Set(part.map(({ model }) => model))];
        const versions = [...new Set(part.map(({ version }) => version))];
        const rows = await reader
          .select({ model: modelVersions.model, version: modelVersions.version, release: modelVersions.release })
          .from(modelVersions)
          .where(and(inArray(modelVersions.model, models), inArray(modelVersions.version, versions)));
        for (const row of rows) found.set(versionKey(row), row.release);
      }
      return found;
    },

    /** The signatures of those that are registered with these bytes, by `model version release`. */
    async signatures(
      reader: Reader,
      named: readonly (NamedVersion & { release: string })[],
    ): Promise<Map<string, string>> {
      const { model, version, release, signature } = modelVersions;
      const found = new Map<string, string>();
      for (const part of chunksOf(named)) {
        const releases = part.map((each) => each.release);
        const rows = await reader
          .select({ model, version, release, signature })
          .from(modelVersions)
          .where(inArray(release, releases));
        for (const row of rows) found.set(`${versionKey(row)} ${row.release}`, row.signature);
      }
      return found;
    },

    /** Sees to it that no push gives these numbers to something else. Writes only when that is news. */
    async reserve(tx: Transaction, named: readonly NamedVersion[]): Promise<void> {
      const models = [...new Set(named.map(({ model }) => model))];
      const registered = await latestOf(tx, models);
      const marks = await marksOf(tx, models);
      const raised = new Map<string, number>();
      for (const { model, version } of named) {
        const highest = raised.get(model) ?? marks.get(model) ?? 0;
        const believed = (registered.get(model) ?? 0) + believedAhead;
        if (version > highest && version <= believed) raised.set(model, version);
      }
      if (raised.size === 0) return;
      const room = maxMarks - (await tx.$count(versionMarks));
      const fresh = [...raised.keys()].filter((model) => !marks.has(model));
      for (const model of fresh.slice(Math.max(0, room))) raised.delete(model);
      for (const [model, highest] of raised) {
        await tx
          .insert(versionMarks)
          .values({ model, highest })
          .onConflictDoUpdate({ target: versionMarks.model, set: { highest } });
      }
    },
  };
}

function* chunksOf<T>(items: readonly T[]): Generator<T[]> {
  for (let at = 0; at < items.length; at += chunk) yield items.slice(at, at + chunk);
}

export function versionKey({ model, version }: NamedVersion): string {
  return `${model} ${version}`;
}
