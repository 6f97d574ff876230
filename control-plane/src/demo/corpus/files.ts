// The files that every machine has after installing: those of the project's dependencies, as the lock file pins them.
// What differs by machine (compiled output, packages for one platform) is left out, so the list is the same everywhere.
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError, messageOf } from '@edgeloop/shared/errors';
import { z } from 'zod';

const PackageJson = z.object({
  version: z.string().default('0.0.0'),
  os: z.union([z.string(), z.array(z.string())]).optional(),
  cpu: z.unknown().optional(),
  repository: z.union([z.string(), z.object({ url: z.string() })]).optional(),
});
type PackageJson = z.infer<typeof PackageJson>;

interface InstalledPackage {
  name: string;
  /** One package may be installed in several versions. */
  version: string;
  /** Who makes it: the owner of its repository, else its scope, else its name. Files of one family look alike. */
  family: string;
  directory: string;
}

export interface CorpusFile {
  packageName: string;
  packageVersion: string;
  family: string;
  /** From the package's folder, with slashes: `lib/index.js`. */
  path: string;
  absolutePath: string;
  sizeBytes: number;
}

/** The project's clone at or above `from` (a folder; by default this module's). Workspaces of others are passed over. */
export function findWorkspaceRoot(from = dirname(fileURLToPath(import.meta.url))): string {
  const parts = ['pnpm-workspace.yaml', 'agent/bin/edgeloop-agent.js', 'control-plane/bin/edgeloop.js'];
  if (parts.every((part) => existsSync(join(from, part)))) return from;
  const parent = dirname(from);
  if (parent !== from) return findWorkspaceRoot(parent);
  throw new AppError(
    'not_found',
    'the demo learns from the files of a clone of the project, and an installed package is none: run `npm start` in a clone',
  );
}

/** Every installed package that does not depend on the machine, by name. `root`: the workspace's folder. */
export function listPackages(root: string): InstalledPackage[] {
  const store = join(root, 'node_modules', '.pnpm');
  if (!existsSync(store)) {
    throw new AppError('not_found', `${store} does not exist: install the dependencies with pnpm first.`);
  }
  const seen = new Set<string>();
  const packages: InstalledPackage[] = [];
  for (const entry of folders(store)) {
    if (entry === 'node_modules') continue;
    for (const { name, directory } of packageFolders(join(store, entry, 'node_modules'))) {
      const real = realpathSync(directory);
      const manifest = readManifest(directory);
      if (manifest === undefined || seen.has(real) || !runsEverywhere(manifest)) continue;
      seen.add(real);
      const { version, repository } = manifest;
      packages.push({ name, version, family: familyOf(name, repository), directory });
    }
  }
  return packages.sort(
    (a, b) => compare(a.name, b.name) || compare(a.version, b.version) || compare(a.directory, b.directory),
  );
}

/** The regular files of one package, by path, without links, nested packages and what was compiled on this machine. */
export function listFiles(installed: InstalledPackage): CorpusFile[] {
  const files: CorpusFile[] = [];
  const { name: packageName, version: packageVersion, family } = installed;
  const walk = (relative: string): void => {
    const here = join(installed.directory, relative);
    const compiledHere = existsSync(join(here, 'binding.gyp'));
    for (const entry of readdirSync(here, { withFileTypes: true })) {
      const path = relative === '' ? entry.name : `${relative}/${entry.name}`;
      if (entry.isDirectory()) {
        if (entry.name !== 'node_modules' && !(compiledHere && entry.name === 'build')) walk(path);
      } else if (entry.isFile()) {
        const absolutePath = join(installed.directory, path);
        const sizeBytes = statSync(absolutePath).size;
        files.push({ packageName, packageVersion, family, path, absolutePath, sizeBytes });
      }
    }
  };
  walk('');
  return files.sort((a, b) => compare(a.path, b.path));
}

/** The family of a package: packages of one maker share style, licence text and build tools. */
export function familyOf(name: string, repository: PackageJson['repository']): string {
  const url = typeof repository === 'string' ? repository : (repository?.url ?? '');
  const owner = /github(?:\.com)?[:/]+([\w.-]+)\//.exec(url)?.[1] ?? /^([\w.-]+)\/[\w.-]+$/.exec(url)?.[1];
  return owner?.toLowerCase() ?? (name.startsWith('@') ? name.slice(1).split('/', 1).join('') : name);
}

function folders(directory: string): string[] {
  if (!existsSync(directory)) return [];
  // Links are other packages' folders, and the workspace's own ones: those are not regular directories.
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map((entry) => entry.name);
}

function packageFolders(modules: string): { name: string; directory: string }[] {
  return folders(modules)
    .flatMap((name) => (name.startsWith('@') ? folders(join(modules, name)).map((sub) => `${name}/${sub}`) : [name]))
    .map((name) => ({ name, directory: join(modules, name) }));
}

function readManifest(directory: string): PackageJson | undefined {
  const path = join(directory, 'package.json');
  if (!existsSync(path)) return undefined;
  try {
    return PackageJson.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new AppError('invalid_request', `${path} is not a package manifest: ${messageOf(cause)}`, { cause });
  }
}

function runsEverywhere(manifest: PackageJson): boolean {
  if (manifest.cpu !== undefined) return false;
  return manifest.os === undefined || ['linux', 'darwin', 'win32'].every((os) => manifest.os?.includes(os));
}

/** Order by code units: the same under every locale. */
export function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
