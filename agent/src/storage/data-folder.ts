// The agent's data folder as a whole: its lock, who may read it, and that nothing lies in the place of its files.
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '@edgeloop/shared/errors';
import { type DataLock, lockDataFolder } from '@edgeloop/shared/node/lock';
import type { Problems } from '../problems.ts';
import { moveAsideUnless } from './aside.ts';
import { isStorageRefusal } from './refusal.ts';

/** What lies in the data folder, each a file or a folder. */
const files = ['agent.lock', 'agent.json', 'serving.pid', 'running-note', 'reserve.bin', 'unjournalled'];
const folders = ['identity', 'journal', 'models'];
/** Of further serving processes. */
const numbered = /^(?:serving\.pid|running-note|unjournalled)\.\d+$/;

/** Where the disk takes no lock it takes nothing else from another agent, either. @throws AppError `conflict` */
export function lockUnlessRefused(folder: string, problems: Problems): DataLock {
  try {
    return lockDataFolder({ folder, file: 'agent.lock', owner: 'agent', variable: 'EDGELOOP_AGENT_DATA_DIR' });
  } catch (error) {
    if (!isStorageRefusal(error)) throw error;
    problems.set('lock', `${folder} cannot be locked (${messageOf(error)}): start no other agent on it`);
    return { release: () => undefined };
  }
}

/** The folder for its owner alone, and nothing in the place of its files that none of them can be. */
export function tidyDataFolder(dataDir: string, problems: Problems): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    const aside = [
      ...[...files, ...readdirSync(dataDir).filter((name) => numbered.test(name))].map((name) =>
        moveAsideUnless('file', join(dataDir, name)),
      ),
      ...folders.map((name) => moveAsideUnless('folder', join(dataDir, name))),
    ].filter((path) => path !== undefined);
    if (aside.length > 0)
      problems.set('files', `what lay in the place of the agent's own files was moved aside: ${aside.join(', ')}`);
    makePrivate(dataDir);
  } catch (error) {
    if (!isStorageRefusal(error)) throw error;
    problems.set('files', `the data folder ${dataDir} cannot be put in order: ${messageOf(error)}`);
  }
}

/** What former versions made may be open to others. */
function makePrivate(dataDir: string): void {
  if ((statSync(dataDir).mode & 0o077) !== 0) chmodSync(dataDir, 0o700);
  for (const folder of [dataDir, join(dataDir, 'journal')]) {
    if (!existsSync(folder)) continue;
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isFile() && (statSync(path).mode & 0o077) !== 0) chmodSync(path, 0o600);
    }
  }
}
