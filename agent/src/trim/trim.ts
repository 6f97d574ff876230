// `edgeloop-agent trim`: deletes from the installed packages what this device never reads. It can be run again, and says
// what went.
// INVARIANT: only packages that the folder's own package.json names are touched. Node's own search would end in folders
// of others (NODE_PATH) where there is nothing below.
import { access, constants, lstat, readdir, realpath, rmdir, unlink } from 'node:fs/promises';
import { dirname, join, relative, sep } from 'node:path';
import { AppError, messageOf, parseJson } from '@edgeloop/shared/errors';
import { readIfPresent } from '@edgeloop/shared/node/durable-files';
import { z } from 'zod';
import { type Device, deadWeightOf } from './dead-weight.ts';

const PackageFile = z.object({ dependencies: z.record(z.string(), z.string()).default({}) });

export interface TrimOptions {
  /** The package whose dependencies are trimmed: the folder of its package.json. */
  folder: string;
  device: Device;
  /** Only say what would go. */
  dryRun: boolean;
}

export interface Trimmed {
  dryRun: boolean;
  sizeBytes: number;
  parts: { package: string; what: string; files: number; sizeBytes: number }[];
}

interface Part {
  package: string;
  what: string;
  root: string;
  paths: string[];
  sizeBytes: number;
}

/**
 * Removes what is dead weight, or nothing where it may not.
 * @throws AppError `not_found` when `folder` depends on none of the packages, `forbidden` when they may not be changed
 */
export async function trim({ folder, device, dryRun }: TrimOptions): Promise<Trimmed> {
  const parts = await findParts(folder, device);
  if (!dryRun) {
    await checkPermission(parts);
    for (const part of parts) await remove(part);
  }
  return {
    dryRun,
    sizeBytes: parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    parts: parts.map(({ package: name, what, paths, sizeBytes }) => ({
      package: name,
      what,
      files: paths.length,
      sizeBytes,
    })),
  };
}

export function formatTrimmed({ dryRun, sizeBytes, parts }: Trimmed): string {
  if (parts.length === 0) return 'nothing to remove';
  const verb = dryRun ? 'would remove' : 'removed';
  const lines = parts.map(({ what, files, sizeBytes: size }) => `${verb} ${megabytes(size)}: ${what} (${files} files)`);
  return [...lines, `${verb} ${megabytes(sizeBytes)} in all`].join('\n');
}

async function findParts(folder: string, device: Device): Promise<Part[]> {
  const { dependencies } = await readPackage(folder);
  const parts: Part[] = [];
  let found = false;
  for (const [name, decide] of Object.entries(deadWeightOf)) {
    const root = name in dependencies ? await findPackage(folder, name) : undefined;
    if (root === undefined) continue;
    found = true;
    for (const { what, paths } of decide(await filesBelow(root), device))
      parts.push({ package: name, what, root, paths, sizeBytes: await totalBytes(root, paths) });
  }
  if (found) return parts;
  throw new AppError('not_found', `nothing that ${folder} depends on can be trimmed: give the folder of a program`);
}

async function readPackage(folder: string): Promise<z.infer<typeof PackageFile>> {
  const path = join(folder, 'package.json');
  const text = await readIfPresent(path);
  if (text === undefined)
    throw new AppError('not_found', `${path} does not exist: give the folder of an installed program`);
  return parseJson(PackageFile, text, path);
}

/** In the `node_modules` beside `folder` or the nearest above it, where installers put what it depends on. */
async function findPackage(folder: string, name: string): Promise<string | undefined> {
  for (let above = await realpath(folder); ; above = dirname(above)) {
    const root = await realpath(join(above, 'node_modules', name)).catch(() => undefined);
    if (root !== undefined || above === dirname(above)) return root;
  }
}

/** With slashes, from `root`; nested packages are others' business. */
async function filesBelow(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll(sep, '/'))
    .filter((path) => !path.startsWith('node_modules/'));
}

async function totalBytes(root: string, paths: readonly string[]): Promise<number> {
  let bytes = 0;
  for (const path of paths) bytes += (await lstat(join(root, path))).size;
  return bytes;
}

/** Asked of all folders before the first file goes, so that a refusal leaves the tree as it was. */
async function checkPermission(parts: readonly Part[]): Promise<void> {
  const folders = new Set(parts.flatMap(({ root, paths }) => paths.map((path) => dirname(join(root, path)))));
  for (const folder of folders) {
    await access(folder, constants.W_OK).catch((cause: unknown) => {
      throw new AppError('forbidden', `${folder} may not be changed: run this as the user who installed it`, { cause });
    });
  }
}

async function remove({ root, paths }: Part): Promise<void> {
  for (const path of paths) {
    await unlink(join(root, path)).catch((cause: unknown) => {
      throw new AppError('forbidden', `${join(root, path)} can't be removed: ${messageOf(cause)}`, { cause });
    });
  }
  await removeEmpty(root, [...new Set(paths.map((path) => dirname(path)))]);
}

/** The deepest first; a folder that still holds something stays, and so do those above it. */
async function removeEmpty(root: string, folders: readonly string[]): Promise<void> {
  const all = new Set<string>();
  for (const folder of folders) for (let each = folder; each !== '.'; each = dirname(each)) all.add(each);
  for (const folder of [...all].sort((a, b) => b.length - a.length)) {
    const path = join(root, folder);
    if ((await readdir(path)).length === 0) await rmdir(path);
  }
}

function megabytes(sizeBytes: number): string {
  return `${(sizeBytes / 1024 / 1024).toFixed(1)} MB`;
}
