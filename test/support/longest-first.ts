// Begins with the files that start whole systems, which take minutes: one of them alone at the end would keep a core waiting.
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Folders of such files, those with the longest first. */
const rooms = ['packaging', 'faults', 'scenarios', 'browser', 'fuzz', 'conformance'];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => placeOf(a.moduleId) - placeOf(b.moduleId));
  }
}

function placeOf(path: string): number {
  const room = /\/test\/(\w+)\/[\w-]+\.test\.ts$/.exec(path)?.[1];
  const place = room === undefined ? -1 : rooms.indexOf(room);
  return place < 0 ? rooms.length : place;
}
