// What lies in a folder of models, `DIR/NAME/VERSION/model.onnx`, as it is at this moment; nothing here decides. The models of
// a pipeline lie beside each other under names of their own.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, parseJson } from '@edgeloop/shared/errors';
import { GoldenSamples } from '@edgeloop/shared/golden';
import { ModelName } from '@edgeloop/shared/identifiers';
import { Manifest } from '@edgeloop/shared/manifest';
import { readIfPresentSync } from '@edgeloop/shared/node/durable-files';
import { withTokenizers } from '@edgeloop/shared/node/tokenizer-files';
import type { Misplaced, ModelFiles } from '../../process/ipc.ts';
import { misplacedIn, versionPattern } from './misplaced.ts';
import { saysPipeline } from './pipeline-folder.ts';

export interface FoundModel {
  name: string;
  /** Which versions `model.json` asks for; undefined for the highest. */
  policy: Manifest['versions'];
  /** Why `model.json` cannot be used. */
  error?: AppError;
  /** Ascending. */
  versions: { version: number; stamp: string }[];
}

export interface FoundFolder {
  models: FoundModel[];
  /** What is nearly right, beside models or in them. */
  misplaced: Misplaced[];
}

/** Most that are told; a folder with more of them is no folder of models. */
const misplacedAtMost = 200;

/** Every model in the folder. @throws AppError `not_found` when the folder cannot be read */
export async function scanFolder(folder: string): Promise<FoundFolder> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (cause) {
    throw new AppError('not_found', `the model folder ${folder} cannot be read`, { cause });
  }
  names.sort();
  const found = await Promise.all(names.map((name) => findModel(folder, name)));
  const misplaced = await Promise.all(names.map((name) => misplacedIn(folder, name)));
  return {
    models: found.filter((model) => model !== undefined),
    misplaced: misplaced.flat().slice(0, misplacedAtMost),
  };
}

/** One model of a folder; undefined when it holds none of this name. */
export async function findModel(folder: string, name: string): Promise<FoundModel | undefined> {
  if (!ModelName.safeParse(name).success) return undefined;
  const entries = await readdir(join(folder, name)).catch(() => []);
  const numbers = entries.filter((entry) => versionPattern.test(entry)).map(Number);
  // The manifest, and what it names beside it.
  const json = entries.filter((entry) => entry.endsWith('.json')).sort();
  const shared = (await Promise.all(json.map((file) => stampOf(folder, join(name, file))))).join(';');
  const versions: FoundModel['versions'] = [];
  for (const version of numbers.sort((a, b) => a - b)) {
    const stamp = await versionStamp(folder, join(name, String(version)));
    if (stamp !== undefined) versions.push({ version, stamp: `${stamp};${shared}` });
  }
  if (versions.length === 0) return undefined;
  try {
    const text = readIfPresentSync(join(folder, name, 'model.json')) ?? '{}';
    return { name, policy: parseJson(Manifest, text, `${name}/model.json`).versions, versions };
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { name, policy: undefined, error, versions };
  }
}

/** Changes with any file of the version; undefined when it holds no model. */
async function versionStamp(folder: string, path: string): Promise<string | undefined> {
  const files = (await readdir(join(folder, path)).catch(() => [])).sort();
  if (!files.includes('model.onnx') && !saysPipeline(join(folder, path))) return undefined;
  const stamps = await Promise.all(files.map((file) => stampOf(folder, join(path, file))));
  return stamps.join(';');
}

async function stampOf(folder: string, path: string): Promise<string> {
  const { size, mtimeMs, ino } = (await stat(join(folder, path)).catch(() => undefined)) ?? {};
  return `${path}:${size}:${mtimeMs}:${ino}`;
}

/**
 * Reads a version of the folder. Its digest covers what it computes: the models, how they follow each other, golden samples and
 * files beside them.
 * @throws AppError naming what is wrong with `model.json`, a tokenizer that it names, or `golden.json`
 */
export async function readVersion(folder: string, name: string, version: number): Promise<ModelFiles> {
  const own = join(folder, name, String(version));
  const text =
    readIfPresentSync(join(own, 'model.json')) ?? readIfPresentSync(join(folder, name, 'model.json')) ?? '{}';
  const golden = readIfPresentSync(join(own, 'golden.json'));
  const manifest = parseJson(Manifest, text, `${name}/model.json`);
  const { pipeline } = manifest;
  const hash = createHash('sha256').update(golden ?? '');
  if (pipeline !== undefined) hash.update(JSON.stringify(pipeline));
  for (const file of (await readdir(own)).sort()) {
    if (file === 'model.json' || file === 'golden.json' || !(await stat(join(own, file))).isFile()) continue;
    for await (const piece of createReadStream(join(own, file))) hash.update(piece);
  }
  return {
    name,
    version,
    path: pipeline === undefined ? join(own, 'model.onnx') : own,
    digest: hash.digest('hex'),
    manifest: await withTokenizers(manifest, [own, join(folder, name)]),
    ...(golden === undefined ? {} : { golden: parseJson(GoldenSamples, golden, `${name}/${version}/golden.json`) }),
  };
}

/** The versions to serve out of those that are there and no failures. `present` ascends. */
export function wantedVersions(policy: Manifest['versions'], present: readonly number[]): number[] {
  if (policy === 'all') return [...present];
  if (Array.isArray(policy)) return present.filter((version) => policy.includes(version));
  return present.slice(-(policy?.latest ?? 1));
}
