// The packages as others get them: packed from this workspace, and installed by plain npm into a folder of their own.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const root = fileURLToPath(new URL('../../', import.meta.url));
const Workspace = z.object({ packageManager: z.string(), version: z.string() });
const workspace = Workspace.parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));

export const { version } = workspace;
export const packages = ['shared', 'agent', 'control-plane'] as const;

export interface Ended {
  code: number;
  /** Both streams. */
  output: string;
}

interface RunOptions {
  cwd: string;
  env?: Record<string, string>;
  timeoutMs?: number;
  /** Runs it as this user. */
  uid?: number;
}

/** Runs a program to its end; a failure is an answer as well. */
export function run(program: string, args: readonly string[], options: RunOptions): Promise<Ended> {
  const { cwd, env = {}, timeoutMs = 60_000, uid } = options;
  return new Promise((resolve, reject) => {
    const settings = { cwd, env: { ...ownEnvironment(), ...env }, timeout: timeoutMs, maxBuffer: 64 * 1024 * 1024 };
    execFile(program, args, { ...settings, ...(uid === undefined ? {} : { uid }) }, (error, stdout, stderr) => {
      const output = `${stdout}${stderr}`;
      if (error === null) resolve({ code: 0, output });
      else if (typeof error.code === 'number') resolve({ code: error.code, output });
      else reject(new Error(`${program} ${args.join(' ')}: ${error.message}\n${output}`, { cause: error }));
    });
  });
}

/** Runs a program that must succeed; resolves with what it wrote. */
export async function succeed(program: string, args: readonly string[], options: RunOptions): Promise<string> {
  const { code, output } = await run(program, args, options);
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}:\n${output}`);
  return output;
}

/** Packs the build into `folder`; resolves with the tarballs by package. */
export async function pack(folder: string): Promise<Record<(typeof packages)[number], string>> {
  const filters = packages.flatMap((name) => ['--filter', `./${name}`]);
  const pnpm = ['--yes', workspace.packageManager, ...filters, 'pack', '--pack-destination', folder];
  await succeed('npx', pnpm, { cwd: root, timeoutMs: 240_000 });
  const path = (name: string) => join(folder, `edgeloop-${name}-${version}.tgz`);
  return { shared: path('shared'), agent: path('agent'), 'control-plane': path('control-plane') };
}

/** As a user does it who wants no GPU; `folder` is empty or holds a former installation. */
export async function npm(folder: string, args: readonly string[]): Promise<void> {
  const env = { ONNXRUNTIME_NODE_INSTALL: 'skip', SCARF_ANALYTICS: 'false' };
  const asked = [...args, '--prefer-offline', '--no-audit', '--no-fund'];
  // Without a prefix npm would take a folder above that happens to hold a package.
  await succeed('npm', [...asked, '--prefix', folder], { cwd: folder, env, timeoutMs: 900_000 });
}

/**
 * Puts the binding of SQLite that was compiled for this workspace, by the same script, into what was installed without scripts: to
 * compile it once more takes minutes of all cores and says nothing of our packages.
 */
export async function useCompiledSqlite(folder: string): Promise<void> {
  const compiled = dirname(createRequire(join(root, 'agent/package.json')).resolve('better-sqlite3/package.json'));
  const binding = 'build/Release/better_sqlite3.node';
  const target = join(folder, 'node_modules/better-sqlite3', binding);
  await mkdir(dirname(target), { recursive: true });
  await copyFile(join(compiled, binding), target);
}

/** On disk, as `du` counts. */
export async function megabytesOf(folder: string): Promise<number> {
  const [kilobytes = ''] = (await succeed('du', ['-sk', folder], { cwd: folder })).split('\t');
  return Number(kilobytes) / 1024;
}

/** The environment without what the test's own runners put there: an installed program must not find this workspace. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const ofRunners = /^(NODE_PATH|NODE_OPTIONS|NODE_ENV|VITEST.*|npm_package_.*|npm_lifecycle_.*|EDGELOOP_.*)$/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ofRunners.test(name)));
}
