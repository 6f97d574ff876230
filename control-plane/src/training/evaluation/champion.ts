// Which version a challenger has to beat.
import type { VersionSummary } from '@edgeloop/shared/api/models';

/**
 * The version that most devices should run (of equals the newer one), else the newest registered; undefined when there
 * is none. A version of the run itself, from an earlier attempt at it, does not count.
 */
export function championOf(
  versions: readonly VersionSummary[],
  { deployed, runId }: { deployed: ReadonlyMap<number, number>; runId: string },
): number | undefined {
  const rivals = versions.filter((version) => version.lineage.runId !== runId).map(({ version }) => version);
  const newestFirst = rivals.toSorted((a, b) => b - a);
  return newestFirst.toSorted((a, b) => (deployed.get(b) ?? 0) - (deployed.get(a) ?? 0))[0];
}
