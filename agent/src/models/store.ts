// Model versions on disk: `DIR/NAME/VERSION/{model.onnx,release.json,model.json}`. `model.onnx` appears last and whole, so a
// version with that name is complete; until then the bytes are in `model.onnx.partial`.
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '@edgeloop/shared/errors';
import { ModelName } from '@edgeloop/shared/identifiers';
import { syncFolder, writeDurablySync } from '@edgeloop/shared/node/durable-files';
import { Release } from '@edgeloop/shared/release';
import type { ModelFiles } from '../process/ipc.ts';

export interface ModelStore {
  folderOf(name: string, version: number): string;
  partialPath(name: string, version: number): string;
  /** Versions with a folder, complete or not, ascending. */
  versions(name: string): Promise<number[]>;
  names(): Promise<string[]>;
  isComplete(name: string, version: number): Promise<boolean>;
  /** The release document as it was fetched, or undefined. */
  readRelease(name: string, version: number): Promise<Buffer | undefined>;
  writeRelease(name: string, version: number, document: Uint8Array, release: Release): Promise<void>;
  /** Makes the fetched bytes the version's model file. */
  complete(name: string, version: number): Promise<void>;
  /** @throws AppError `integrity` when the release document is damaged or missing */
  modelFiles(name: string, version: number): Promise<ModelFiles>;
  remove(name: string, version: number): Promise<void>;
  removeModel(name: string): Promise<void>;
  /** Removes what is not in `keep`, but for the newest of the rest, whose bytes the next version may share. */
  collect(name: string, keep: readonly number[], spare: number): Promise<number[]>;
  freeBytes(): Promise<number>;
}

export function createModelStore(folder: string): ModelStore {
  const folderOf = (name: string, version: number) => join(folder, name, String(version));
  const file = (name: string, version: number, leaf: string) => join(folderOf(name, version), leaf);
  const partialPath = (name: string, version: number) => file(name, version, 'model.onnx.partial');
  const store: ModelStore = {
    folderOf,
    partialPath,
    versions: async (name) =>
      (await entries(join(folder, name)))
        .filter((entry) => /^[1-9]\d{0,9}$/.test(entry))
        .map(Number)
        .sort((a, b) => a - b),
    names: async () => (await entries(folder)).filter((entry) => ModelName.safeParse(entry).success),
    isComplete: async (name, version) => (await sizeOf(file(name, version, 'model.onnx'))) !== undefined,
    readRelease: (name, version) => readOptional(file(name, version, 'release.json')),
    async writeRelease(name, version, document, release) {
      await mkdir(folderOf(name, version), { recursive: true });
      writeDurablySync(file(name, version, 'model.json'), `${JSON.stringify(release.manifest, null, 2)}\n`);
      writeDurablySync(file(name, version, 'release.json'), document);
    },
    async complete(name, version) {
      const partial = await open(partialPath(name, version), 'r');
      await partial.sync();
      await partial.close();
      await rename(partialPath(name, version), file(name, version, 'model.onnx'));
      await syncFolder(folderOf(name, version));
    },
    async modelFiles(name, version) {
      const document = (await store.readRelease(name, version)) ?? Buffer.alloc(0);
      const { manifest, golden, artifact } = parseJson(
        Release,
        document.toString('utf8'),
        `release of ${name} ${version}`,
        'integrity',
      );
      return { name, version, path: file(name, version, 'model.onnx'), digest: artifact.digest, manifest, golden };
    },
    remove: (name, version) => rm(folderOf(name, version), { recursive: true, force: true }),
    removeModel: (name) => rm(join(folder, name), { recursive: true, force: true }),
    async collect(name, keep, spare) {
      const unused = (await store.versions(name)).filter((version) => !keep.includes(version));
      const removed = unused.slice(0, Math.max(0, unused.length - spare));
      for (const version of removed) await store.remove(name, version);
      return removed;
    },
    async freeBytes() {
      await mkdir(folder, { recursive: true });
      const { bavail, bsize } = await statfs(folder);
      return bavail * bsize;
    },
  };
  return store;
}

async function entries(path: string): Promise<string[]> {
  return (await optional(readdir(path))) ?? [];
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await optional(stat(path)))?.size;
}

function readOptional(path: string): Promise<Buffer | undefined> {
  return optional(readFile(path));
}

/** Undefined when the file or folder is not there. */
async function optional<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
