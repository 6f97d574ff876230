// The demo's data: files of installed packages, first as libraries hold them, then as the fleet's traffic becomes when
// other clients join: minified bundles, TypeScript sources, and texts saved as UTF-16, which Windows tools do by default.
import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { FEATURE_BYTES, featureNames, featuresOf } from './features.ts';
import { type CorpusFile, compare, listFiles, listPackages } from './files.ts';
import { classes, classOfName, type FileClass, type FileKind, labelOf } from './labels.ts';
import { hashFraction, splitFamilies } from './split.ts';

/** How a sample looks: `library` before the change, the others after it. */
type SampleKind = FileKind | 'UTF-16 text';

export interface Sample {
  /** Package and path, for example `zod@4.6.7/src/v4/core/core.ts`. */
  path: string;
  packageName: string;
  family: string;
  label: FileClass;
  kind: SampleKind;
  /** In the order of `featureNames`. */
  features: Float32Array;
}

export interface Scenario {
  classes: readonly FileClass[];
  featureNames: readonly string[];
  /**
   * Library files to train the first model on, family by family, as uploads come: neighbours are alike, so blocks of
   * rows show how much the features move from package to package without any drift.
   */
  training: Sample[];
  /** Library files of packages that no model learns from, shuffled. */
  heldOut: Sample[];
  /** Changed traffic whose labels arrive from the field and are retrained on: other files of the learning side. */
  changedField: Sample[];
  /** Changed traffic of packages that no model learns from, with no file of `heldOut`. */
  changedHeldOut: Sample[];
  summary: ScenarioSummary;
}

interface ScenarioSummary {
  packages: { learn: number; judge: number };
  samples: { training: number; heldOut: number; changedField: number; changedHeldOut: number };
  /** Samples per kind in `changedField` and `changedHeldOut` together. */
  changedKinds: Record<string, number>;
}

interface ReadFile extends CorpusFile {
  label: FileClass;
  kind: FileKind;
  bytes: Uint8Array;
}

/** So many files of one kind and class from one package, lest a huge one decides what a class looks like. */
const LIBRARY_FILES = 20;
const CHANGED_FILES = 20;
/** Shorter files are stubs of a line that could be anything. */
const SMALLEST_BYTES = 64;
const LEARN_SHARE = 0.58;
/** This share of the library texts is kept out of the first part, and comes as UTF-16 in the second one. */
const UTF16_SHARE = 0.12;

/**
 * Reads the corpus below `root` (the workspace's folder) and splits it. The same installed packages and the same `seed`
 * give the same samples in the same order. Synchronous, some seconds. Throws when the dependencies are not installed.
 */
export function createScenario({ root, seed }: { root: string; seed: number }): Scenario {
  const files = readCorpus(root, seed);
  const sides = splitFamilies(
    files.map(({ family, label, kind }) => ({ family, group: kind === 'library' ? label : kind })),
    { seed, learnShare: LEARN_SHARE },
  );
  const scenario: Omit<Scenario, 'summary'> = {
    classes,
    featureNames,
    training: [],
    heldOut: [],
    changedField: [],
    changedHeldOut: [],
  };
  for (const file of files) {
    const { changed, sample } = sampleOf(file, seed);
    if (sides.get(file.family) === 'learn') (changed ? scenario.changedField : scenario.training).push(sample);
    else (changed ? scenario.changedHeldOut : scenario.heldOut).push(sample);
  }
  scenario.training.sort((a, b) => compare(a.family, b.family) || compare(a.path, b.path));
  return { ...scenario, summary: summaryOf(scenario) };
}

/** Files of the classes, no content twice, bounded per package, in an order that only depends on the seed. */
function readCorpus(root: string, seed: number): ReadFile[] {
  const seen = new Set<string>();
  const files: ReadFile[] = [];
  const taken = new Map<string, number>();
  for (const installed of listPackages(root)) {
    const candidates = listFiles(installed).filter(
      ({ path, sizeBytes }) => sizeBytes >= SMALLEST_BYTES && classOfName(path) !== undefined,
    );
    for (const file of shuffled(candidates, seed)) {
      const bytes = readStart(file.absolutePath);
      const found = labelOf(file.path, bytes);
      if (found === undefined) continue;
      const group = `${file.packageName} ${found.label} ${found.kind}`;
      const count = taken.get(group) ?? 0;
      const digest = createHash('sha256').update(bytes).digest('base64');
      if (count >= (found.kind === 'library' ? LIBRARY_FILES : CHANGED_FILES) || seen.has(digest)) continue;
      seen.add(digest);
      taken.set(group, count + 1);
      files.push({ ...file, ...found, bytes });
    }
  }
  return shuffled(files, seed);
}

function sampleOf(file: ReadFile, seed: number): { changed: boolean; sample: Sample } {
  const path = fullPath(file);
  // Source maps are written by build tools, which do not write UTF-16.
  const reencode =
    file.kind === 'library' && file.label !== 'source map' && hashFraction(seed, `utf-16 ${path}`) < UTF16_SHARE;
  const kind = reencode ? 'UTF-16 text' : file.kind;
  const features = featuresOf(reencode ? toUtf16(file.bytes) : file.bytes);
  const { packageName, family, label } = file;
  return { changed: kind !== 'library', sample: { path, packageName, family, label, kind, features } };
}

/** The same text as UTF-16, little-endian with a byte order mark, the form in which Windows tools write "Unicode". */
export function toUtf16(utf8: Uint8Array): Uint8Array {
  // `stream` leaves out a character that the end of the block cuts in two.
  const text = new TextDecoder('utf-8').decode(utf8, { stream: true });
  return Buffer.from(`\uFEFF${text}`, 'utf16le');
}

function fullPath({ packageName, packageVersion, path }: CorpusFile): string {
  return `${packageName}@${packageVersion}/${path}`;
}

function shuffled<F extends CorpusFile>(files: readonly F[], seed: number): F[] {
  return files
    .map((file) => ({ file, key: hashFraction(seed, fullPath(file)) }))
    .sort((a, b) => a.key - b.key || compare(a.file.absolutePath, b.file.absolutePath))
    .map(({ file }) => file);
}

function readStart(path: string): Uint8Array {
  const block = new Uint8Array(FEATURE_BYTES);
  const descriptor = openSync(path, 'r');
  try {
    // A copy of what was read: a view would keep the whole block of every file in memory.
    return block.slice(0, readSync(descriptor, block, 0, block.length, 0));
  } finally {
    closeSync(descriptor);
  }
}

function summaryOf(scenario: Omit<Scenario, 'summary'>): ScenarioSummary {
  const { training, heldOut, changedField, changedHeldOut } = scenario;
  const packages = (samples: readonly Sample[]): number => new Set(samples.map((sample) => sample.packageName)).size;
  const changedKinds: Record<string, number> = {};
  for (const { kind } of [...changedField, ...changedHeldOut]) changedKinds[kind] = (changedKinds[kind] ?? 0) + 1;
  return {
    packages: { learn: packages([...training, ...changedField]), judge: packages([...heldOut, ...changedHeldOut]) },
    samples: {
      training: training.length,
      heldOut: heldOut.length,
      changedField: changedField.length,
      changedHeldOut: changedHeldOut.length,
    },
    changedKinds,
  };
}
