// Which release stands behind a version's number, and which numbers are taken though nothing is registered under them: after
// a backup was restored, devices run versions that this registry has never heard of.
import type { Sha256 } from '@edgeloop/shared/identifiers';
import { and, desc, eq, inArray } from 'drizzle-orm';
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
  async function latest(reader: Reader, model: string): Promise<number> {
    const [row] = await reader
      .select({ version: modelVersions.version })
      .from(modelVersions)
      .where(eq(modelVersions.model, model))
      .orderBy(desc(modelVersions.version))
      .limit(1);
    return row?.version ?? 0;
  }

  async function mark(reader: Reader, model: string): Promise<number> {
    const [row] = await reader.select().from(versionMarks).where(eq(versionMarks.model, model));
    return row?.highest ?? 0;
  }

  async function raise(tx: Transaction, model: string, highest: number): Promise<void> {
    const known = await mark(tx, model);
    if (highest <= known || (known === 0 && (await tx.$count(versionMarks)) >= maxMarks)) return;
    await tx
      .insert(versionMarks)
      .values({ model, highest })
      .onConflictDoUpdate({ target: versionMarks.model, set: { highest } });
  }

  return {
    /** The highest registered number; 0 when there is none. */
    latest,

    /** What the next version of the model is called: above all that are registered or reserved. */
    async next(reader: Reader, model: string): Promise<number> {
      return Math.max(await latest(reader, model), await mark(reader, model)) + 1;
    },

    /** The releases of those that are registered, by `versionKey`. */
    async releases(reader: Reader, named: readonly NamedVersion[]): Promise<Map<string, Sha256>> {
      const found = new Map<string, Sha256>();
      for (let i = 0; i < named.length; i += chunk) {
        const part = named.slice(i, i + chunk);
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

    /** Sees to it that no push gives these numbers to something else. Writes only when that is news. */
    async reserve(tx: Transaction, named: readonly NamedVersion[]): Promise<void> {
      for (const model of new Set(named.map((each) => each.model))) {
        const believed = (await latest(tx, model)) + believedAhead;
        const numbers = named.filter((each) => each.model === model && each.version <= believed);
        const highest = numbers.reduce((most, { version }) => Math.max(most, version), 0);
        if (highest > 0) await raise(tx, model, highest);
      }
    },
  };
}

export function versionKey({ model, version }: NamedVersion): string {
  return `${model} ${version}`;
}
