// What lies in a folder of models and is nearly right: the file beside its folder, another name, `v1` for `1`. Nothing of it
// is served; whoever put it there is told what is wrong with it, instead of "unknown model".
import { type Dirent, statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '@edgeloop/shared/errors';
import { ModelName } from '@edgeloop/shared/identifiers';
import type { Misplaced } from '../../process/ipc.ts';
import { saysPipeline } from './pipeline-folder.ts';

export const versionPattern = /^[1-9]\d{0,8}$/;
const modelFile = /\.onnx$/i;
/** What other programs call their models. */
const otherFormat =
  /\.(?:pt|pth|pkl|joblib|h5|hdf5|keras|pb|tflite|plan|engine|trt|xml|bin|safetensors|gguf|ort|mlmodel|savedmodel|dlc)$/i;
/** Folders of others may lie here, with any number of folders in them. */
const lookedInto = 64;
const shownLength = 200;

/** What is nearly right at `name`, an entry of `folder`. */
export async function misplacedIn(folder: string, name: string): Promise<Misplaced[]> {
  if (name.startsWith('.')) return [];
  const path = join(folder, name);
  if (!isFolder(path)) return modelFile.test(name) ? [fileBesideFolders(name)] : [];
  const entries = await entriesOf(path);
  if (!Array.isArray(entries)) return [{ name: shown(name), version: '', reason: entries.reason }];
  const found = [
    ...entries.filter((entry) => isModelFile(path, entry)).map((entry) => fileBesideVersions(name, entry.name)),
    ...(await misplacedVersions(path, name, entries)),
  ];
  if (!ModelName.safeParse(name).success) return (await holdsModel(path, entries)) ? [misnamed(name)] : [];
  if (found.length > 0 || entries.some(({ name: version }) => versionPattern.test(version))) return found;
  return withoutVersions(name, entries);
}

async function misplacedVersions(path: string, name: string, entries: readonly Dirent[]): Promise<Misplaced[]> {
  const found: Misplaced[] = [];
  for (const { name: version } of foldersIn(path, entries)) {
    const inside = await entriesOf(join(path, version));
    const reason = !Array.isArray(inside)
      ? inside.reason
      : versionPattern.test(version)
        ? await wrongInVersion(join(path, version), inside)
        : await wrongVersionName(join(path, version), name, version, inside);
    if (reason !== undefined) found.push({ name: shown(name), version: shown(version), reason });
  }
  return found;
}

/** Why a folder with the right name is no version; undefined when it is one, or holds something else altogether. */
async function wrongInVersion(path: string, inside: readonly Dirent[]): Promise<string | undefined> {
  if (inside.some(({ name }) => name === 'model.onnx') || saysPipeline(path)) return undefined;
  const files = inside.filter((entry) => isModelFile(path, entry)).map(({ name }) => `"${shown(name)}"`);
  if (files.length === 1) return `its file is called ${files[0]}; call it model.onnx`;
  if (files.length > 1)
    return `it holds ${files.slice(0, 5).join(', ')}; call the one to serve model.onnx, or say in model.json how they follow each other ("pipeline")`;
  const deeper = await folderWithModel(path, inside);
  if (deeper !== undefined) return `its model is one folder too deep, in "${shown(deeper)}"; move it up`;
  const other = inside.find(({ name }) => otherFormat.test(name));
  if (other) return `it holds "${shown(other.name)}" and no model.onnx; only ONNX models are served`;
  return inside.length === 0 ? 'it is empty; the model belongs there as model.onnx' : undefined;
}

async function wrongVersionName(
  path: string,
  name: string,
  version: string,
  inside: readonly Dirent[],
): Promise<string | undefined> {
  if (inside.some((entry) => isModelFile(path, entry)))
    return `"${shown(version)}" is no version: name the folder by a whole number from 1 to 999999999, such as ${numberIn(version)}`;
  const deeper = await folderWithModel(path, inside);
  if (deeper === undefined) return undefined;
  return `its model is one folder too deep; it belongs at ${shown(name)}/${versionPattern.test(deeper) ? deeper : 1}/model.onnx`;
}

/** A folder of a model with a description and nothing to serve. */
function withoutVersions(name: string, entries: readonly Dirent[]): Misplaced[] {
  const has = (file: string): boolean => entries.some((entry) => entry.name === file);
  const where = `the model belongs at ${name}/1/model.onnx`;
  if (has('config.pbtxt')) {
    const reason = `config.pbtxt is not read, and there is no ONNX model; ${where}, what there is to say of it in ${name}/model.json`;
    return [{ name, version: '', reason }];
  }
  return has('model.json') ? [{ name, version: '', reason: `there is model.json and no model; ${where}` }] : [];
}

function fileBesideFolders(file: string): Misplaced {
  const stem = file.replace(modelFile, '');
  const name = ModelName.safeParse(stem).success ? stem : 'NAME';
  return { name: shown(file), version: '', reason: `it is a file; put it at ${name}/1/model.onnx` };
}

function fileBesideVersions(name: string, file: string): Misplaced {
  const ofOneModel = /^\d+$/.test(name) ? '; if this is the folder of one model, serve the folder above it' : '';
  const version = versionPattern.test(file.replace(modelFile, '')) ? file.replace(modelFile, '') : '1';
  const reason = `"${shown(file)}" is in no version's folder; put it at ${shown(name)}/${version}/model.onnx${ofOneModel}`;
  return { name: shown(name), version: '', reason };
}

function misnamed(name: string): Misplaced {
  const reason = `a model's name ${ModelName.safeParse(name).error?.issues[0]?.message}; give the folder another name`;
  return { name: shown(name), version: '', reason };
}

/** Whether there is a model below, however it lies there. */
async function holdsModel(path: string, entries: readonly Dirent[]): Promise<boolean> {
  return entries.some((entry) => isModelFile(path, entry)) || (await folderWithModel(path, entries)) !== undefined;
}

async function folderWithModel(path: string, entries: readonly Dirent[]): Promise<string | undefined> {
  for (const { name } of foldersIn(path, entries)) {
    const inside = await entriesOf(join(path, name));
    if (Array.isArray(inside) && inside.some((entry) => isModelFile(join(path, name), entry))) return name;
  }
  return undefined;
}

function foldersIn(path: string, entries: readonly Dirent[]): Dirent[] {
  return entries
    .filter((entry) => !entry.name.startsWith('.') && (entry.isDirectory() || entry.isSymbolicLink()))
    .slice(0, lookedInto)
    .filter((entry) => entry.isDirectory() || isFolder(join(path, entry.name)));
}

function isModelFile(path: string, entry: Dirent): boolean {
  return modelFile.test(entry.name) && !entry.name.startsWith('.') && !isFolder(join(path, entry.name));
}

async function entriesOf(path: string): Promise<Dirent[] | { reason: string }> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    return { reason: `its folder cannot be read: ${messageOf(error)}` };
  }
}

function isFolder(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  } catch {
    return false; // What cannot be looked at is told when it is read.
  }
}

/** The number that is meant by `v1`, `0001` or `1.0`. */
function numberIn(version: string): string {
  const digits = /[1-9]\d{0,8}/.exec(version)?.[0];
  return digits ?? '1';
}

function shown(name: string): string {
  return name.slice(0, shownLength);
}
