// What callers have asked a folder's models to be loaded with, until they are loaded otherwise: another configuration, and
// files of the caller's in the place of the folder's.
import { rm } from 'node:fs/promises';
import type { Manifest } from '@edgeloop/shared/manifest';
import type { LoadOverride, ManifestOverride, ModelFiles } from '../../process/ipc.ts';
import { type FoundFolder, type FoundModel, findModel, readVersion, scanFolder } from './scan.ts';

export interface OverriddenFolder {
  /** As `scanFolder`, with what callers asked for. */
  scan(): Promise<FoundFolder>;
  /** As `readVersion`; by default with what holds for this model. */
  read(name: string, version: number, override?: LoadOverride): Promise<ModelFiles>;
  /** One model as it would be found with `override`. */
  find(name: string, override: LoadOverride): Promise<FoundModel | undefined>;
  /** From now on; undefined for what the folder says. */
  set(name: string, override: LoadOverride | undefined): void;
  /** Removes the files of overrides that hold no more and are served no more. */
  tidy(): Promise<void>;
}

export function createOverriddenFolder(folder: string): OverriddenFolder {
  const overrides = new Map<string, LoadOverride>();
  const unused: string[] = [];

  const find: OverriddenFolder['find'] = async (name, { manifest, root = folder }) => {
    const found = await findModel(root, name);
    if (found === undefined) return undefined;
    const word = JSON.stringify(manifest);
    return {
      ...found,
      policy: manifest.versions ?? found.policy,
      versions: found.versions.map(({ version, stamp }) => ({ version, stamp: `${stamp};${word}` })),
    };
  };

  return {
    find,
    async scan() {
      const { models, misplaced } = await scanFolder(folder);
      const plain = models.filter(({ name }) => !overrides.has(name));
      const other = await Promise.all([...overrides].map(([name, override]) => find(name, override)));
      return { models: [...plain, ...other.filter((found) => found !== undefined)], misplaced };
    },
    async read(name, version, override = overrides.get(name)) {
      const files = await readVersion(override?.root ?? folder, name, version);
      return override === undefined ? files : { ...files, manifest: overridden(files.manifest, override.manifest) };
    },
    set(name, override) {
      const root = overrides.get(name)?.root;
      if (root !== undefined) unused.push(root);
      if (override === undefined) overrides.delete(name);
      else overrides.set(name, override);
    },
    async tidy() {
      for (const root of unused.splice(0)) await rm(root, { recursive: true, force: true });
    },
  };
}

function overridden(manifest: Manifest, { maxBatch, maxDelayMs, instances, versions }: ManifestOverride): Manifest {
  const { batching } = manifest;
  return {
    ...manifest,
    batching: { maxBatch: maxBatch ?? batching.maxBatch, maxDelayMs: maxDelayMs ?? batching.maxDelayMs },
    instances: instances ?? manifest.instances,
    versions: versions ?? manifest.versions,
  };
}
