// Where each serving process keeps its files, in a folder that all share. The first one's have the names that they always had.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { isMissing } from '@edgeloop/shared/node/durable-files';

const names = { pidPath: 'serving.pid', runningNotePath: 'running-note', missingNotePath: 'unjournalled' } as const;

export interface ServingPlace {
  /** Its process id, for the next start. */
  pidPath: string;
  /** What runs at this moment. */
  runningNotePath: string;
  /** What could not be journalled. */
  missingNotePath: string;
}

/** `process`: its place among them, from 0 on. */
export function placeOf(folder: string, process: number): ServingPlace {
  const pathOf = (name: string) => join(folder, process === 0 ? name : `${name}.${process + 1}`);
  return {
    pidPath: pathOf(names.pidPath),
    runningNotePath: pathOf(names.runningNotePath),
    missingNotePath: pathOf(names.missingNotePath),
  };
}

/** Of so many processes, and of those that a former start had besides. */
export function placesIn(folder: string, count: number): ServingPlace[] {
  const left = filesIn(folder).map((name) => Number(/^(?:serving\.pid|unjournalled)\.(\d{1,3})$/.exec(name)?.[1] ?? 0));
  return Array.from({ length: Math.max(count, ...left) }, (_, process) => placeOf(folder, process));
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
