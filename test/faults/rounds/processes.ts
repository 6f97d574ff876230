// The processes of a program by what they do, and what is left over of a fleet.
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export interface SeenProcess {
  pid: number;
  command: string;
}

interface ListedProcess extends SeenProcess {
  parent: number;
}

/** File names of the entries of child processes. */
export const roles = {
  serving: /\/serving\.js\b/,
  prover: /\/prove-process\.js\b/,
  model: /\/process-main\.js\b/,
  /** What is there only while something is tried. */
  passing: /\/(prove|tune|validation|evaluation|trainer)-process\.js\b/,
} as const;

/** What descends from a process, itself left out. */
export async function descendants(pid: number): Promise<SeenProcess[]> {
  const rows = await listed();
  const inTree = new Set([pid]);
  // Children may be listed before their parents.
  for (let known = 0; known !== inTree.size; ) {
    known = inTree.size;
    for (const row of rows) if (inTree.has(row.parent)) inTree.add(row.pid);
  }
  return rows.filter((row) => row.pid !== pid && inTree.has(row.pid));
}

async function listed(): Promise<ListedProcess[]> {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-o', 'pid=,ppid=,args=']);
  return stdout.split('\n').flatMap((line) => {
    const [, id, parent, command = ''] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    return id === undefined ? [] : [{ pid: Number(id), parent: Number(parent), command }];
  });
}

/** Models' own processes of this checkout that have lost their parent: they are told no folder. */
export async function orphans(): Promise<SeenProcess[]> {
  const root = fileURLToPath(new URL('../../..', import.meta.url));
  return (await listed()).filter(
    ({ parent, command }) => parent === 1 && command.includes(root) && roles.model.test(command),
  );
}

/** Kills one process of the tree that does this; undefined when there is none. */
export async function killOne(pid: number, role: RegExp): Promise<SeenProcess | undefined> {
  const victim = (await descendants(pid)).find(({ command }) => role.test(command));
  if (victim !== undefined) process.kill(victim.pid, 'SIGKILL');
  return victim;
}

/** Processes that were started for `folder` and belong to none of these programs; undefined where the system does not tell. */
export async function leftovers(folder: string, programs: readonly number[]): Promise<SeenProcess[] | undefined> {
  if (process.platform !== 'linux') return undefined;
  const known = new Set(programs);
  for (const pid of programs) for (const each of await descendants(pid)) known.add(each.pid);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && !known.has(Number(name)))
    .flatMap((name) => {
      const environment = contentOf(`/proc/${name}/environ`);
      const command = contentOf(`/proc/${name}/cmdline`).replaceAll('\0', ' ');
      return environment.includes(folder) ? [{ pid: Number(name), command }] : [];
    });
}

/** Empty for a process that has gone meanwhile. */
function contentOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
