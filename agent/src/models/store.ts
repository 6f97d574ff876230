// Releases of models on disk: `DIR/NAME/VERSION/{model.onnx,release.json,model.json}`. A second release under the same number
// lies beside the first one, in `VERSION-` and the beginning of its digest, as long as the first one must be kept. `model.onnx`
// appears last and whole, so a release with that name is complete; until then the bytes are in `model.onnx.partial`. Of a release
// with variants other files stand in its place, see `variant-files.ts`.
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '@edgeloop/shared/errors';
import { ModelName } from '@edgeloop/shared/identifiers';
import { sha256 } from '@edgeloop/shared/node/digests';
import { isMissing, syncFolder, writeDurablySync } from '@edgeloop/shared/node/durable-files';
import { Release, type Variant } from '@edgeloop/shared/release';
import { plainVariant } from '@edgeloop/shared/variants';
import type { ModelFiles } from '../process/ipc.ts';
import { DamagedFile } from './failure.ts';
import { type Choice, choiceFile, choiceIn, fileNameOf, modelFile, variantIn, variantNamed } from './variant-files.ts';

/** Which bytes: the version is a name for people, the SHA-256 of the release document says it. */
export interface ReleaseRef {
  name: string;
  version: number;
  release: string;
}

/** A folder of a version, complete or not. */
interface StoredRelease {
  version: number;
  /** SHA-256 of the document that lies there. */
  release: string | undefined;
  folder: string;
  isComplete: boolean;
}

export interface ModelStore {
  /** Where a release lies, or would; without a digest, the first one of its number. */
  folderOf(of: Pick<ReleaseRef, 'name' | 'version'> & { release?: string | undefined }): string;
  /** SHA-256 of the release document of the first release of a number. */
  releaseOf(name: string, version: number): string | undefined;
  /** Of the variant that is used, when none is named; the same below. */
  modelPath(of: ReleaseRef, variant?: string): string;
  partialPath(of: ReleaseRef, variant?: string): string;
  /** Which variant is used; undefined until that is decided, and where there is but one file. */
  choiceOf(of: ReleaseRef): Choice | undefined;
  /** Decides it, and removes the files of all others. */
  choose(of: ReleaseRef, choice: Choice): Promise<void>;
  /** Ascending. */
  list(name: string): Promise<StoredRelease[]>;
  names(): Promise<string[]>;
  isComplete(of: ReleaseRef, variant?: string): Promise<boolean>;
  /** The release document as it was fetched; undefined when it is not there or was changed. */
  readRelease(of: ReleaseRef): Promise<Buffer | undefined>;
  /** Makes a folder for the release. Another one under its number gives way unless it is one of `keep`. */
  claim(of: ReleaseRef, keep: readonly string[]): Promise<void>;
  writeRelease(of: ReleaseRef, document: Uint8Array, release: Release): Promise<void>;
  /** Makes the fetched bytes the release's model file. */
  complete(of: ReleaseRef, variant?: string): Promise<void>;
  /** The reverse, when the bytes are not to be trusted any more; those that are right are not fetched again. */
  distrust(of: ReleaseRef): Promise<void>;
  /** @throws DamagedFile when the release document is missing or was changed */
  modelFiles(of: ReleaseRef, variant?: string): Promise<ModelFiles>;
  remove(of: ReleaseRef): Promise<void>;
  removeModel(name: string): Promise<void>;
  /**
   * Removes releases that are not in `keep`, but for the newest `spare` of the rest that are whole: the next one may share their
   * bytes.
   */
  collect(name: string, keep: readonly Omit<ReleaseRef, 'name'>[], spare: number): Promise<StoredRelease[]>;
  freeBytes(): Promise<number>;
}

const folderName = /^([1-9]\d{0,9})(?:-[0-9a-f]{12})?$/;

export function createModelStore(folder: string): ModelStore {
  const firstOf = (name: string, version: number) => join(folder, name, String(version));
  const besideOf = ({ name, version, release }: ReleaseRef) => `${firstOf(name, version)}-${release.slice(0, 12)}`;
  const folderOf: ModelStore['folderOf'] = ({ name, version, release }) => {
    const beside = release === undefined ? undefined : besideOf({ name, version, release });
    return beside !== undefined && existsSync(beside) ? beside : firstOf(name, version);
  };
  const modelPath = (of: ReleaseRef, variant?: string) => pathIn(folderOf(of), variant);
  const partialPath = (of: ReleaseRef, variant?: string) => `${modelPath(of, variant)}.partial`;

  const store: ModelStore = {
    folderOf,
    releaseOf: (name, version) => {
      const path = join(firstOf(name, version), 'release.json');
      return existsSync(path) ? sha256(readFileSync(path)) : undefined;
    },
    modelPath,
    partialPath,
    async list(name) {
      const found = (await entries(join(folder, name))).flatMap((entry) => {
        const version = folderName.exec(entry)?.[1];
        return version === undefined ? [] : [{ version: Number(version), folder: join(folder, name, entry) }];
      });
      found.sort((a, b) => a.version - b.version || a.folder.localeCompare(b.folder));
      return Promise.all(found.map(async (each) => ({ ...each, ...(await contentOf(each.folder)) })));
    },
    names: async () => (await entries(folder)).filter((entry) => ModelName.safeParse(entry).success),
    isComplete: async (of, variant) =>
      (await store.readRelease(of)) !== undefined && (await isThere(modelPath(of, variant))),
    async readRelease(of) {
      const document = await documentIn(folderOf(of));
      return document !== undefined && sha256(document) === of.release ? document : undefined;
    },
    async claim(of, keep) {
      const { name, version, release } = of;
      const place = folderOf(of);
      const present = await documentIn(place);
      const other = present === undefined ? undefined : sha256(present);
      if (other === undefined || other === release) await mkdir(place, { recursive: true });
      else if (keep.includes(other)) await mkdir(besideOf(of), { recursive: true });
      // Its bytes may be shared, but must not be mistaken for those of this release.
      else {
        await distrustIn(firstOf(name, version));
        await rm(join(firstOf(name, version), choiceFile), { force: true });
      }
    },
    async writeRelease(of, document, release) {
      writeDurablySync(join(folderOf(of), 'model.json'), manifestText(release));
      writeDurablySync(join(folderOf(of), 'release.json'), document);
    },
    choiceOf: (of) => choiceIn(folderOf(of)),
    async choose(of, choice) {
      const place = folderOf(of);
      writeDurablySync(join(place, choiceFile), JSON.stringify(choice));
      const kept = fileNameOf(choice.variant);
      for (const entry of await entries(place))
        if (modelFile.test(entry.replace(/\.(partial|verified)$/, '')) && !entry.startsWith(kept))
          await rm(join(place, entry), { force: true });
    },
    async complete(of, variant) {
      const partial = await open(partialPath(of, variant), 'r');
      try {
        await partial.sync();
      } finally {
        await partial.close();
      }
      await rename(partialPath(of, variant), modelPath(of, variant));
      await syncFolder(folderOf(of));
    },
    async distrust(of) {
      // Elsewhere it would be the bytes of another release of this number.
      if ((await store.readRelease(of)) !== undefined) await distrustIn(folderOf(of));
    },
    async modelFiles(of, named) {
      const { name, version } = of;
      const document = await store.readRelease(of);
      if (document === undefined)
        throw new DamagedFile(`the release document of ${name} ${version} on disk is missing or was changed`);
      const release = parseJson(Release, document.toString('utf8'), `release of ${name} ${version}`, 'integrity');
      await mendManifest(folderOf(of), manifestText(release));
      const variant =
        (named === undefined ? undefined : variantNamed(release, named)) ?? variantIn(folderOf(of), release);
      const path = modelPath(of, variant.name);
      return { ...filesOf(release, variant), name, version, path, release: of.release };
    },
    async remove(of) {
      if ((await store.readRelease(of)) !== undefined) await rm(folderOf(of), { recursive: true, force: true });
    },
    removeModel: (name) => rm(join(folder, name), { recursive: true, force: true }),
    async collect(name, keep, spare) {
      const stored = await store.list(name);
      // By their places too: a document that was damaged there says of no release that it is kept.
      const places = new Set(keep.map((each) => folderOf({ name, ...each })));
      const kept = new Set<string | undefined>(keep.map(({ release }) => release));
      const unused = stored.filter((each) => !kept.has(each.release) && !places.has(each.folder));
      // What was never whole is of no use to anybody.
      const whole = unused.filter(({ isComplete }) => isComplete);
      const removed = unused.filter((each) => !each.isComplete || whole.indexOf(each) < whole.length - spare);
      for (const each of removed) await rm(each.folder, { recursive: true, force: true });
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

function manifestText({ manifest }: Release): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** `model.json` says again what stands in the release document, whatever was made of it meanwhile. */
async function mendManifest(folder: string, text: string): Promise<void> {
  const path = join(folder, 'model.json');
  if ((await optional(readFile(path, 'utf8'))) !== text) writeDurablySync(path, text);
}

async function contentOf(folder: string): Promise<Pick<StoredRelease, 'release' | 'isComplete'>> {
  const document = await documentIn(folder);
  const release = document === undefined ? undefined : sha256(document);
  return { release, isComplete: release !== undefined && (await isThere(pathIn(folder, undefined))) };
}

async function distrustIn(folder: string): Promise<void> {
  for (const entry of await entries(folder))
    if (modelFile.test(entry)) await optional(rename(join(folder, entry), join(folder, `${entry}.partial`)));
}

function pathIn(folder: string, variant: string | undefined): string {
  return join(folder, fileNameOf(variant ?? choiceIn(folder)?.variant ?? plainVariant));
}

/** What a variant says otherwise than its release is put in its place, and what stands beside the manifest into it. */
function filesOf(release: Release, { name, artifact, requires, tolerance }: Variant) {
  const { acceptance, variants } = release;
  const golden = tolerance === undefined ? release.golden : { ...release.golden, tolerance };
  // What it was made for, it runs on.
  const providers = requires.provider === undefined ? {} : { providers: [requires.provider] };
  const manifest = { ...release.manifest, ...(acceptance === undefined ? {} : { acceptance }), ...providers };
  return { digest: artifact.digest, manifest, golden, ...(variants === undefined ? {} : { variant: name }) };
}

function documentIn(folder: string): Promise<Buffer | undefined> {
  return optional(readFile(join(folder, 'release.json')));
}

async function entries(path: string): Promise<string[]> {
  return (await optional(readdir(path))) ?? [];
}

async function isThere(path: string): Promise<boolean> {
  return (await optional(stat(path))) !== undefined;
}

/** Undefined when the file or folder is not there. */
async function optional<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
